/*
 * tests/unit/test.h - what cmocka wants included before it.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_TESTS_UNIT_TEST_H
#define POSTERN_TESTS_UNIT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#endif
