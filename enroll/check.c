/*
 * check: opens what the configuration names and says what it found. Changes nothing. Runs alone, may block.
 */
#include "enroll/check.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/address.h"
#include "common/bundle.h"
#include "common/directory/accounts.h"
#include "common/local_revocation.h"
#include "common/prepare.h"
#include "common/text.h"
#include "common/tls.h"
#include "enroll/challenge.h"
#include "enroll/program.h"
#include "enroll/signer/known_keys.h"

#define CONNECT_MS 3000
#define FILES_MAX (PLAN_ROLES * PLAN_FILES)

PRINTF(2, 3) static int finding(bool good, const char *fmt, ...)
{
	va_list args;

	fputs(good ? "ok      " : "FAILED  ", stdout);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	putchar('\n');
	return good ? 0 : 1;
}

/* --- addresses --- */

/* 0, or an errno. */
static int try_connect(const struct sockaddr *sa, socklen_t n)
{
	struct pollfd p = { .events = POLLOUT };
	int error = 0;
	socklen_t size = sizeof(error);

	p.fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (p.fd < 0)
		return errno;
	if (connect(p.fd, sa, n) < 0) {
		error = errno;
		if (error == EINPROGRESS) {
			if (poll(&p, 1, CONNECT_MS) != 1)
				error = ETIMEDOUT;
			else if (getsockopt(p.fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
				error = errno;
		}
	}
	close(p.fd);
	return error;
}

static int check_host(const char *what, const char *text, uint16_t port)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list = NULL;
	char service[8], host[256];
	int rc, error = ENOENT;

	if (host_port_parse(strv_from(text), port, host, &port) < 0)
		return finding(false, "%s \"%s\": expected host:port", what, text);
	snprintf(service, sizeof(service), "%u", port);
	rc = getaddrinfo(host, service, &hints, &list);
	if (rc != 0)
		return finding(false, "%s %s: %s: see DNS or correct the name", what, host, gai_strerror(rc));
	for (struct addrinfo *a = list; a != NULL && error != 0; a = a->ai_next)
		error = try_connect(a->ai_addr, a->ai_addrlen);
	freeaddrinfo(list);
	if (error != 0)
		return finding(false, "%s %s:%u: %s: start it, or open the way to it", what, host, port, strerror(error));
	return finding(true, "%s %s:%u answers", what, host, port);
}

static int check_local_proxy(const struct enroll_settings *s)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int n = snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/" LOCAL_REVOCATION_SOCKET, s->common.run_dir), rc, fd;

	if (n < 0 || (size_t)n >= sizeof(sun.sun_path))
		return finding(false, "run_dir: %s is too long for a local socket (107 bytes)", s->common.run_dir);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	rc = fd >= 0 && connect(fd, (const struct sockaddr *)&sun, sizeof(sun)) == 0 ? 0 : errno;
	if (fd >= 0)
		close(fd);
	if (rc != 0)
		return finding(false, "local proxy %s: %s: start easproxy with proxy.revocation.local: true", sun.sun_path, strerror(rc));
	return finding(true, "local proxy %s answers", sun.sun_path);
}

static int check_neighbours(const struct enroll_settings *s)
{
	const struct config_ldap *l = s->common.directory.ldap;
	int bad = s->enroll.local_proxy ? check_local_proxy(s) : 0;

	for (unsigned i = 0; s->common.redis != NULL && i < s->common.redis->servers_count; i++) {
		if (!text_starts_nocase(strv_from(s->common.redis->servers[i]), STRV("unix:")))
			bad |= check_host("redis", s->common.redis->servers[i], 6379);
	}
	for (unsigned i = 0; l != NULL && strcmp(s->common.directory.kind, "ldap") == 0 && i < l->servers_count; i++) {
		bool tls = text_starts_nocase(strv_from(l->servers[i]), STRV("ldaps://"));
		char host[300];
		snprintf(host, sizeof(host), "%s", l->servers[i] + (tls ? 8 : 7));
		host[strcspn(host, "/")] = '\0';
		bad |= check_host("ldap", host, tls ? 636 : 389);
	}
	return bad;
}

static int check_listeners(const struct enroll_settings *s)
{
	int bad = 0;

	for (unsigned i = 0; i < s->enroll.listeners_count + 1; i++) {
		const char *address = i < s->enroll.listeners_count ? s->enroll.listeners[i].address : s->enroll.admin.address;
		int error = address[0] != '\0' ? prepare_try(address, 0) : 0;
		if (error == -EADDRINUSE)
			bad |= finding(true, "listener %s is in use (by the running easenroll, or see `ss -ltnp`)", address);
		else if (error != 0)
			bad |= finding(false, "listener %s: %s: %s", address, strerror(-error), error == -EACCES ? "start as root" : "correct the address");
		else if (address[0] != '\0')
			bad |= finding(true, "listener %s can be bound", address);
	}
	return bad;
}

/* --- files --- */

static bool is_secret(const struct enroll_settings *s, const char *path)
{
	const struct config_ldap *l = s->common.directory.ldap;

	for (unsigned i = 0; i < s->enroll.listeners_count; i++) {
		if (strcmp(path, s->enroll.listeners[i].key) == 0)
			return true;
	}
	return strcmp(path, s->enroll.ca.key_password_file) == 0 || strcmp(path, s->enroll.ca.pin_file) == 0 || strcmp(path, s->enroll.scep.static_file) == 0 ||
	    strcmp(path, s->enroll.mdm.secret_file) == 0 ||
	    strcmp(path, s->enroll.scep.webhook_token_file) == 0 ||
	    (s->common.redis != NULL && (strcmp(path, s->common.redis->password_file) == 0 || strcmp(path, s->common.redis->fleet_secret_file) == 0)) ||
	    (l != NULL && (strcmp(path, l->bind_password_file) == 0 || strcmp(path, l->keytab) == 0));
}

static int check_file(const struct enroll_settings *s, const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0 || access(path, R_OK) < 0)
		return finding(false, "file %s: %s: create it, correct the path, or run check as root", path, strerror(errno));
	if (is_secret(s, path) && (st.st_mode & 077) != 0)
		return finding(false, "file %s: its mode is %04o and it is a secret: chmod 600 %s", path, (unsigned)st.st_mode & 07777, path);
	return finding(true, "file %s", path);
}

static int check_ca(const struct enroll_settings *s)
{
	struct stat st;

	if (stat(s->enroll.ca.folder, &st) < 0)
		return finding(false, "CA folder %s: %s: make the CA with `easenroll ca init`", s->enroll.ca.folder, strerror(errno));
	if (!S_ISDIR(st.st_mode) || (st.st_mode & 027) != 0)
		return finding(false, "CA folder %s: its mode is %04o: expected a folder that others cannot read: chmod 700", s->enroll.ca.folder, (unsigned)st.st_mode & 07777);
	return finding(true, "CA folder %s", s->enroll.ca.folder);
}

static int check_known_keys(const struct enroll_settings *s)
{
	const char *path = s->enroll.ca.known_keys_file;
	struct refusal r = { 0 };
	struct known_keys *k;
	size_t n;

	if (path[0] == '\0')
		return 0;
	k = known_keys_read(path, &r);
	if (k == NULL)
		return finding(false, "%s", r.text);
	n = known_keys_count(k);
	known_keys_free(k);
	return finding(true, "%zu keys that others know in %s", n, path);
}

static int check_challenge(const struct enroll_settings *s, struct bundle *files)
{
	const struct enroll_scep *c = &s->enroll.scep;
	const char *weakness;
	struct strv text;

	if (c->challenge_kind != CHALLENGE_STATIC || !bundle_get_secret(files, c->static_file, &text))
		return 0;	/* whether the file can be read is told by its own line */
	weakness = challenge_weakness(text);
	return weakness != NULL ? finding(false, "enroll.scep.static_file %s: the challenge %s: " CHALLENGE_CURE, c->static_file, weakness) :
	    finding(true, "the static challenge is long enough");
}

static int check_accounts(const struct enroll_settings *s)
{
	const char *path = s->common.directory.file, *groups[ENROLL_GROUPS_MAX + 1] = { NULL };
	unsigned groups_n = enroll_settings_groups(s, groups), duplicates = 0;
	struct config_error error = { "" };
	struct accounts *accounts;
	char *text;
	size_t n;
	int rc;

	if (strcmp(s->common.directory.kind, "file") != 0)
		return 0;
	if (config_read_file(path, &text, &n, &error) < 0)
		return finding(false, "accounts %s", error.text);
	accounts = accounts_load(path, (struct strv){ text, n }, groups, groups_n, &duplicates, &error);
	free(text);
	if (accounts == NULL)
		return finding(false, "accounts %s", error.text);
	rc = finding(true, "accounts %s: %zu, %u names stand twice", path, accounts_count(accounts), duplicates);
	accounts_free(accounts);
	return rc;
}

/* The host of https://HOST[:PORT][/...], without the brackets of an IPv6 address. */
static void host_of(const char *url, char host[256])
{
	const char *from = url + strlen("https://");
	size_t n;

	from += *from == '[';
	n = strcspn(from, from[-1] == '[' ? "]" : ":/");
	snprintf(host, 256, "%.*s", (int)n, from);
}

/* Devices call public_url: one of the listeners must have what they take for it. Others may be for somebody else. */
static int check_certificates(const struct enroll_settings *s, struct bundle *files)
{
	char host[256], why[TLS_WHY_MAX];
	const char *path = NULL;
	bool is_there = false;
	struct strv pem;
	int bad = 0;

	host_of(s->enroll.public_url, host);
	for (unsigned i = 0; i < s->enroll.listeners_count; i++) {
		const struct enroll_listener *l = &s->enroll.listeners[i];
		STACK_OF(X509) *certs = !l->plain && bundle_get(files, l->certificate, &pem) ? tls_certificates(pem, why, sizeof(why)) : NULL;
		/* one that cannot be read was said by enroll_program_trial() */
		if (certs == NULL)
			continue;
		path = l->certificate;
		is_there |= tls_certificate_is_for(sk_X509_value(certs, 0), host);
		if (!tls_certificate_is_valid(sk_X509_value(certs, 0), path, why, sizeof(why)))
			bad |= finding(false, "%s", why);
		sk_X509_pop_free(certs, X509_free);
	}
	if (path == NULL || is_there)
		return bad;
	return finding(false, "certificate %s is not for %s, by which enroll.public_url has devices and people call: they refuse it: get one that "
	    "names it (subjectAltName), or correct public_url", path, host);
}

static int check_built(const struct enroll_settings *s)
{
	struct bundle *files = bundle_from_disk();
	char why[1024] = "out of memory";
	int rc = files != NULL ? enroll_program_trial(s, files, why, sizeof(why)) : -1;
	int bad = files != NULL ? check_challenge(s, files) | check_certificates(s, files) : 0;

	bundle_free(files);
	return bad | (rc < 0 ? finding(false, "%s", why) : finding(true, "certificates and keys go together"));
}

int enroll_check_run(const char *config_file)
{
	struct config_error error = { "" };
	const struct enroll_settings *s;
	struct plan plan;
	const char *paths[FILES_MAX];
	char why[TLS_WHY_MAX];
	size_t n;
	int bad = 0;

	if (easenroll_program.load(config_file, &plan, &error) < 0)
		return finding(false, "%s", error.text);
	s = plan.settings;
	finding(true, "configuration %s", config_file);
	if (tls_library_check(why, sizeof(why)) < 0)
		bad |= finding(false, "%s", why);
	n = plan_files(&plan, paths, FILES_MAX);
	for (size_t i = 0; i < n; i++)
		bad |= check_file(s, paths[i]);
	bad |= check_built(s);
	bad |= check_ca(s);
	bad |= check_known_keys(s);
	bad |= check_accounts(s);
	bad |= check_listeners(s);
	bad |= check_neighbours(s);
	easenroll_program.unload(&plan);
	return bad;
}
