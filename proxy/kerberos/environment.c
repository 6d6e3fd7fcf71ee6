/*
 * environment: profile and keytab in memory for the Kerberos library. Opens no file of the machine,
 * talks to nobody. Runs in the *kerberos* process.
 */
#include "proxy/kerberos/environment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static int write_all(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t w = write(fd, p, n);
		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0)
			return -1;
		p += w;
		n -= (size_t)w;
	}
	return 0;
}

/*
 * The library wants to find a KDC before it asks our transport: it finds a place where nobody
 * listens, and DNS is not asked. So should a question ever get past our transport, it goes nowhere.
 * kdc_timesync: the library reckons with the KDC's clock, as far as one exchange shows it.
 */
static const char profile[] =
    "[libdefaults]\n"
    "\tdefault_realm = %s\n"
    "\tdns_lookup_kdc = false\n"
    "\tdns_lookup_realm = false\n"
    "\tdns_uri_lookup = false\n"
    "\tdns_canonicalize_hostname = false\n"
    "\trdns = false\n"
    "\tforwardable = true\n"
    "\tkdc_timesync = 1\n"
    "\tudp_preference_limit = 1\n"
    "\tpermitted_enctypes = aes256-cts-hmac-sha384-192 aes128-cts-hmac-sha256-128 "
    "aes256-cts-hmac-sha1-96 aes128-cts-hmac-sha1-96\n"
    "\tallow_weak_crypto = false\n"
    "\tplugin_base_dir = /nonexistent\n"
    "\tdefault_ccache_name = MEMORY:none\n"
    "\tdefault_keytab_name = MEMORY:none\n"
    "\tdefault_client_keytab_name = MEMORY:none\n"
    "[realms]\n"
    "\t%s = {\n"
    "\t\tkdc = 127.0.0.1:1\n"
    "\t}\n";

int environment_enter(const char *realm)
{
	static const char *const unwanted[] = { "KRB5_TRACE", "KRB5CCNAME", "KRB5_KTNAME",
		"KRB5_CLIENT_KTNAME", "KRB5RCACHETYPE", "KRB5RCACHENAME", "KRB5RCACHEDIR",
		"GSS_USE_PROXY", "KRB5_KDC_PROFILE" };
	char text[sizeof(profile) + 256], path[64];
	int n = snprintf(text, sizeof(text), profile, realm, realm);
	int fd = memfd_create("krb5.conf", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || n < 0 || (size_t)n >= sizeof(text) || write_all(fd, text, (size_t)n) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
		goto failed;
	for (size_t i = 0; i < ARRAY_LEN(unwanted); i++)
		unsetenv(unwanted[i]);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	/* Mechanisms that are plugged in by a file of the machine would run here, beside the
	 * keytab. */
	if (setenv("KRB5_CONFIG", path, 1) < 0 || setenv("GSS_MECH_CONFIG", "/dev/null", 1) < 0)
		goto failed;
	return fd;
failed:
	n = errno != 0 ? errno : EINVAL;
	if (fd >= 0)
		close(fd);
	return -n;
}

void environment_leave(int fd)
{
	unsetenv("KRB5_CONFIG");
	unsetenv("GSS_MECH_CONFIG");
	if (fd >= 0)
		close(fd);
}

/*
 * The frames of a keytab (format 5.2): version, then entries behind their lengths (negative: a
 * hole), to the end and not beyond. The library would take a key that the file cuts off, and each
 * try with a wrong key counts against the account.
 */
static bool is_whole(struct strv bytes)
{
	const uint8_t *p = (const uint8_t *)bytes.p;
	size_t at = 2;

	if (bytes.n < 2 || p[0] != 5 || p[1] != 2)
		return false;
	while (bytes.n - at >= 4) {
		uint32_t n = (uint32_t)p[at] << 24 | (uint32_t)p[at + 1] << 16 |
		    (uint32_t)p[at + 2] << 8 | p[at + 3];
		if (n == 0)
			return true; /* the library's mark of an end */
		if (n > INT32_MAX)
			n = 0u - n;
		at += 4;
		if (n > bytes.n - at)
			return false;
		at += n;
	}
	return at == bytes.n;
}

static krb5_error_code copy_entries(krb5_context context, krb5_keytab from, krb5_keytab to)
{
	krb5_kt_cursor cursor;
	krb5_keytab_entry entry;
	krb5_error_code rc = krb5_kt_start_seq_get(context, from, &cursor), rc_end;
	unsigned n = 0;

	if (rc != 0)
		return rc;
	while ((rc = krb5_kt_next_entry(context, from, &entry, &cursor)) == 0) {
		rc = krb5_kt_add_entry(context, to, &entry);
		krb5_free_keytab_entry_contents(context, &entry);
		if (rc != 0)
			break;
		n++;
	}
	rc_end = krb5_kt_end_seq_get(context, from, &cursor);
	if (rc == KRB5_KT_END)
		rc = n > 0 ? rc_end : KRB5_KT_END;
	return rc;
}

static void wipe(int fd, size_t n)
{
	static const char zeros[4096];

	for (size_t at = 0; at < n; at += sizeof(zeros)) {
		size_t now = n - at < sizeof(zeros) ? n - at : sizeof(zeros);
		if (pwrite(fd, zeros, now, (off_t)at) < 0)
			break;
	}
	close(fd);
}

krb5_error_code environment_keytab(krb5_context context, struct strv bytes, krb5_keytab *out)
{
	krb5_keytab file = NULL, memory = NULL;
	krb5_error_code rc;
	char path[64];
	int fd = memfd_create("keytab", MFD_CLOEXEC);

	*out = NULL;
	if (fd < 0)
		return errno;
	if (!is_whole(bytes)) {
		rc = KRB5_KT_FORMAT;
		goto out;
	}
	if (write_all(fd, bytes.p, bytes.n) < 0) {
		rc = errno;
		goto out;
	}
	snprintf(path, sizeof(path), "FILE:/proc/self/fd/%d", fd);
	rc = krb5_kt_resolve(context, path, &file);
	if (rc != 0)
		goto out;
	rc = krb5_kt_resolve(context, "MEMORY:own", &memory);
	if (rc != 0)
		goto out;
	rc = copy_entries(context, file, memory);
	if (rc != 0)
		goto out;
	*out = memory;
	memory = NULL;
out:
	if (memory != NULL)
		krb5_kt_close(context, memory);
	if (file != NULL)
		krb5_kt_close(context, file);
	wipe(fd, bytes.n);
	return rc;
}

bool environment_keytab_serves(
    krb5_context context, krb5_keytab keytab, krb5_const_principal principal)
{
	static const krb5_enctype aes[] = { ENCTYPE_AES256_CTS_HMAC_SHA384_192,
		ENCTYPE_AES128_CTS_HMAC_SHA256_128, ENCTYPE_AES256_CTS_HMAC_SHA1_96,
		ENCTYPE_AES128_CTS_HMAC_SHA1_96 };

	for (size_t i = 0; i < ARRAY_LEN(aes); i++) {
		krb5_keytab_entry entry;
		if (krb5_kt_get_entry(context, keytab, principal, 0, aes[i], &entry) == 0) {
			krb5_free_keytab_entry_contents(context, &entry);
			return true;
		}
	}
	return false;
}
