/*
 * tests/unit/tls_files.c - see tls_files.h.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "tests/unit/test.h"

#include "tests/unit/tls_files.h"

#include <dirent.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <unistd.h>

const char *tls_file(const struct tls_files *f, const char *name, const char *ext)
{
	static char paths[16][128];
	static unsigned at;
	char *path = paths[at++ % 16];

	snprintf(path, 128, "%s/%s.%s", f->dir, name, ext);
	return path;
}

static void extend(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *e;

	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	assert_non_null(e);
	X509_add_ext(x, e, -1);
	X509_EXTENSION_free(e);
}

static X509 *certificate(const char *cn, int days, EVP_PKEY *key, X509 *issuer)
{
	static long serial;
	X509 *x = X509_new();
	X509_NAME *subject;

	assert_non_null(x);
	X509_set_version(x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial);
	X509_gmtime_adj(X509_getm_notBefore(x), days < 0 ? 2L * days * 86400 : -3600);
	X509_gmtime_adj(X509_getm_notAfter(x), (long)days * 86400);
	X509_set_pubkey(x, key);
	subject = X509_get_subject_name(x);
	X509_NAME_add_entry_by_txt(
	    subject, "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1, -1, 0);
	X509_set_issuer_name(x, issuer ? X509_get_subject_name(issuer) : subject);
	return x;
}

static void write_files(struct tls_files *f, const char *name, X509 *x, EVP_PKEY *key)
{
	FILE *out = fopen(tls_file(f, name, "pem"), "w");

	assert_non_null(out);
	assert_int_equal(PEM_write_X509(out, x), 1);
	fclose(out);
	out = fopen(tls_file(f, name, "key"), "w");
	assert_non_null(out);
	assert_int_equal(PEM_write_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL), 1);
	fclose(out);
}

void tls_files_init(struct tls_files *f)
{
	snprintf(f->dir, sizeof(f->dir), "/tmp/postern-tls-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	f->ca_key = EVP_EC_gen("P-256");
	f->ca = certificate("Test CA", 10, f->ca_key, NULL);
	extend(f->ca, f->ca, NID_basic_constraints, "critical,CA:TRUE");
	extend(f->ca, f->ca, NID_key_usage, "critical,keyCertSign,cRLSign");
	assert_true(X509_sign(f->ca, f->ca_key, EVP_sha256()) > 0);
	write_files(f, "ca", f->ca, f->ca_key);
}

void tls_files_make(struct tls_files *f, const char *name, const char *cn, const char *names,
    int days, bool rsa, bool self)
{
	EVP_PKEY *key = rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
	X509 *x = certificate(cn, days, key, self ? NULL : f->ca);

	if (names)
		extend(x, self ? x : f->ca, NID_subject_alt_name, names);
	assert_true(X509_sign(x, self ? key : f->ca_key, EVP_sha256()) > 0);
	write_files(f, name, x, key);
	X509_free(x);
	EVP_PKEY_free(key);
}

void tls_files_done(struct tls_files *f)
{
	DIR *d = opendir(f->dir);
	struct dirent *e;
	char path[400];

	assert_non_null(d);
	while ((e = readdir(d))) {
		snprintf(path, sizeof(path), "%s/%s", f->dir, e->d_name);
		unlink(path);
	}
	closedir(d);
	rmdir(f->dir);
	X509_free(f->ca);
	EVP_PKEY_free(f->ca_key);
}
