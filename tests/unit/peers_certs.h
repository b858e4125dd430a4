/* Certificates for tests, made when they run: none can expire in the tree. */
#ifndef COORDD_TESTS_UNIT_PEERS_CERTS_H
#define COORDD_TESTS_UNIT_PEERS_CERTS_H

#include "tests/unit/cmocka_all.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>

struct cert {
    EVP_PKEY *key;
    X509 *x509;
    char cert_file[128], key_file[128];
};

static inline void cert_extension(X509 *x509, X509 *issuer, int kind, const char *text)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, x509, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, kind, text);
    assert_non_null(extension);
    X509_add_ext(x509, extension, -1);
    X509_EXTENSION_free(extension);
}

/* Of an authority when signer is NULL, else of the node of that DNS name; valid from `from_s` to `to_s`
 * seconds from now. The files are directory/label.pem and .key. */
static inline struct cert *cert_make(const char *directory, const char *label, const char *dns_name,
                                     const struct cert *signer, long from_s, long to_s)
{
    static long serial = 1;
    struct cert *cert = calloc(1, sizeof *cert);
    assert_non_null(cert);
    cert->key = EVP_EC_gen("P-256");
    cert->x509 = X509_new();
    X509_set_version(cert->x509, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert->x509), serial++);
    X509_gmtime_adj(X509_getm_notBefore(cert->x509), from_s);
    X509_gmtime_adj(X509_getm_notAfter(cert->x509), to_s);
    X509_set_pubkey(cert->x509, cert->key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert->x509), "CN", MBSTRING_ASC,
                               (const unsigned char *)label, -1, -1, 0);
    X509 *issuer = signer ? signer->x509 : cert->x509;
    X509_set_issuer_name(cert->x509, X509_get_subject_name(issuer));
    if (signer) {
        char text[128];
        snprintf(text, sizeof text, "DNS:%s", dns_name);
        cert_extension(cert->x509, issuer, NID_subject_alt_name, text);
    } else {
        cert_extension(cert->x509, issuer, NID_basic_constraints, "critical,CA:TRUE");
    }
    assert_true(X509_sign(cert->x509, signer ? signer->key : cert->key, EVP_sha256()) > 0);
    snprintf(cert->cert_file, sizeof cert->cert_file, "%s/%s.pem", directory, label);
    snprintf(cert->key_file, sizeof cert->key_file, "%s/%s.key", directory, label);
    FILE *file = fopen(cert->cert_file, "we");
    assert_true(file && PEM_write_X509(file, cert->x509));
    fclose(file);
    file = fopen(cert->key_file, "we");
    assert_true(file && PEM_write_PrivateKey(file, cert->key, NULL, NULL, 0, NULL, NULL));
    fclose(file);
    return cert;
}

static inline void cert_free(struct cert *cert)
{
    EVP_PKEY_free(cert->key);
    X509_free(cert->x509);
    remove(cert->cert_file);
    remove(cert->key_file);
    free(cert);
}

#endif
