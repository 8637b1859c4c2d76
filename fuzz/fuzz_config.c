/*
 * fuzz/fuzz_config.c - any file as a configuration.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "config/config.h"
#include "yaml/yaml.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <stdio.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct yaml_errors e;
	struct config *cfg = NULL;
	char path[64];
	int fd = memfd_create("config", 0);

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	yaml_errors_init(&e);
	/* A file is good, or there is an error that says why not. */
	if (config_load(path, &e, &cfg) < 0 && e.count == 0)
		abort();
	config_unref(&cfg);
	yaml_errors_done(&e);
	close(fd);
	return 0;
}
