/*
 * tests/unit/tls_files.h - certificates and keys that a test makes for itself.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_TESTS_UNIT_TLS_FILES_H
#define POSTERN_TESTS_UNIT_TLS_FILES_H

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdbool.h>

/* A directory of PEM files; names are "NAME.pem" (the chain) and "NAME.key". */
struct tls_files {
	char dir[64];
	EVP_PKEY *ca_key;
	X509 *ca;
};

void tls_files_init(struct tls_files *f); /* makes the authority "ca" */
void tls_files_done(struct tls_files *f);

/* names: "DNS:a.example,IP:127.0.0.1", or NULL: only the common name `cn`.  days: how long it lasts
 * from now, negative: it ended then.  rsa: a key of that kind, else P-256.  self: signed by itself.
 */
void tls_files_make(struct tls_files *f, const char *name, const char *cn, const char *names,
    int days, bool rsa, bool self);

/* "DIR/NAME.EXT"; one of sixteen static buffers. */
const char *tls_file(const struct tls_files *f, const char *name, const char *ext);

#endif
