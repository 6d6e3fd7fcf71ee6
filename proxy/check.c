/*
 * check: opens what the configuration names and says what it found. Changes nothing. Runs alone, may block.
 */
#include "proxy/check.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netdb.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/address.h"
#include "common/directory/accounts.h"
#include "common/prepare.h"
#include "common/text.h"
#include "common/tls.h"
#include "proxy/program.h"
#include "proxy/revocation/crl.h"
#include "proxy/revocation/crl_file.h"
#include "proxy/revocation/issuers.h"

#define CONNECT_MS 3000
#define FILES_MAX  (PLAN_ROLES * PLAN_FILES)

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

/* 0, or an errno of the last address tried. */
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
		if (error == EINPROGRESS || error == EAGAIN) {
			if (poll(&p, 1, CONNECT_MS) != 1)
				error = ETIMEDOUT;
			else if (getsockopt(p.fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
				error = errno;
		}
	}
	close(p.fd);
	return error;
}

static int check_host(const char *what, const char *host, uint16_t port)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list = NULL;
	char service[8];
	int rc, error = ENOENT;

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

static int check_host_port(const char *what, const char *text, uint16_t port)
{
	char host[256];

	if (host_port_parse(strv_from(text), port, host, &port) < 0)
		return finding(false, "%s \"%s\": expected host:port", what, text);
	return check_host(what, host, port);
}

static int check_redis(const char *server)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int error;

	if (!text_starts_nocase(strv_from(server), STRV("unix:")))
		return check_host_port("redis", server, 6379);
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", server + 5);
	error = try_connect((struct sockaddr *)&sun, sizeof(sun));
	return error != 0 ? finding(false, "redis %s: %s: start it, or let the user reach the socket", server, strerror(error))
			  : finding(true, "redis %s answers", server);
}

static int check_ldap(const char *url)
{
	bool tls = text_starts_nocase(strv_from(url), STRV("ldaps://"));
	char host[300];

	snprintf(host, sizeof(host), "%s", url + (tls ? 8 : 7));
	host[strcspn(host, "/")] = '\0';
	return check_host_port("ldap", host, tls ? 636 : 389);
}

/* http:// or https://, which the settings have made sure of. "": none is named. */
static int check_url(const char *what, const char *url)
{
	bool tls = text_starts_nocase(strv_from(url), STRV("https://"));
	char host[300];

	if (url[0] == '\0')
		return 0;
	snprintf(host, sizeof(host), "%s", url + (tls ? 8 : 7));
	host[strcspn(host, "/?#")] = '\0';
	return check_host_port(what, host, tls ? 443 : 80);
}

static int check_neighbours(const struct settings *s)
{
	const struct config_ldap *l = s->common.directory.ldap;
	int bad = 0;

	for (unsigned i = 0; s->common.redis != NULL && i < s->common.redis->servers_count; i++)
		bad |= check_redis(s->common.redis->servers[i]);
	for (unsigned i = 0; l != NULL && strcmp(s->common.directory.kind, "ldap") == 0 && i < l->servers_count; i++)
		bad |= check_ldap(l->servers[i]);
	for (unsigned i = 0; s->proxy.kerberos != NULL && i < s->proxy.kerberos->kdcs_count; i++)
		bad |= check_host_port("kdc", s->proxy.kerberos->kdcs[i], 88);
	if (s->proxy.bearer != NULL)
		bad |= check_url("keys_url", s->proxy.bearer->keys_url);
	for (unsigned i = 0; i < s->proxy.revocation.crls_count; i++)
		bad |= check_url("CRL", s->proxy.revocation.crls[i].url) | check_url("delta CRL", s->proxy.revocation.crls[i].delta_url);
	for (unsigned i = 0; i < s->proxy.upstreams_count; i++) {
		for (unsigned k = 0; k < s->proxy.upstreams[i].servers_count; k++) {
			struct server_url url;
			if (server_url_parse(strv_from(s->proxy.upstreams[i].servers[k]), &url) == 0)
				bad |= check_host("mail server", url.host, url.port);
		}
	}
	return bad;
}

static int check_listeners(const struct settings *s)
{
	int bad = 0;

	for (unsigned i = 0; i < s->proxy.listeners_count + 1; i++) {
		const char *address = i < s->proxy.listeners_count ? s->proxy.listeners[i].address : s->proxy.admin.address;
		int error = address[0] != '\0' ? prepare_try(address, PREPARE_SHARED) : 0;
		if (error == -EADDRINUSE)
			bad |= finding(true, "listener %s is in use (by the running easproxy, or see `ss -ltnp`)", address);
		else if (error != 0)
			bad |= finding(false, "listener %s: %s: %s", address, strerror(-error),
			    error == -EACCES ? "start as root, or by systemd's socket" : "correct the address");
		else if (address[0] != '\0')
			bad |= finding(true, "listener %s can be bound", address);
	}
	return bad;
}

/* --- files --- */

static bool is_secret(const struct settings *s, const char *path)
{
	for (unsigned i = 0; i < s->proxy.hosts_count; i++) {
		if (strcmp(path, s->proxy.hosts[i].key) == 0)
			return true;
	}
	return (s->proxy.kerberos != NULL && strcmp(path, s->proxy.kerberos->keytab) == 0) ||
	    (s->common.redis != NULL && (strcmp(path, s->common.redis->password_file) == 0 || strcmp(path, s->common.redis->fleet_secret_file) == 0)) ||
	    (s->common.directory.ldap != NULL &&
		(strcmp(path, s->common.directory.ldap->bind_password_file) == 0 || strcmp(path, s->common.directory.ldap->keytab) == 0));
}

static int check_file(const struct settings *s, const char *path, bool *all)
{
	struct stat st;

	if (stat(path, &st) < 0 || access(path, R_OK) < 0) {
		*all = false;
		return finding(false, "file %s: %s: create it, correct the path, or run check as root", path, strerror(errno));
	}
	if (is_secret(s, path) && (st.st_mode & 077) != 0)
		return finding(false, "file %s: its mode is %04o and it is a secret: chmod 600 %s", path, (unsigned)st.st_mode & 07777, path);
	return finding(true, "file %s", path);
}

/* Opens as the user that the processes run as: what is read again while they run must be readable to it. -1 with errno. */
static int open_as_user(const struct settings *s, const char *path)
{
	struct passwd *pw = geteuid() == 0 ? getpwnam(s->common.user) : NULL;
	int fd = -1, error;

	if (pw != NULL && (setgroups(0, NULL) < 0 || setegid(pw->pw_gid) < 0 || seteuid(pw->pw_uid) < 0))
		return -1;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	error = errno;
	if (pw != NULL && (seteuid(0) < 0 || setegid(0) < 0)) {
		error = errno;
		close(fd);
		fd = -1;
	}
	errno = error;
	return fd;
}

static int fail_open(const struct settings *s, const char *what, const char *path)
{
	return finding(false, "%s %s: %s: create it, correct the path, or let user %s read it", what, path, strerror(errno), s->common.user);
}

/* NULL: no certificate there, which was said already. */
static STACK_OF(X509) *issuer_of(const struct crl_settings *c, struct bundle *files)
{
	struct strv pem;
	char why[TLS_WHY_MAX];

	return bundle_get(files, c->issuer_ca, &pem) ? tls_certificates(pem, why, sizeof(why)) : NULL;
}

static int check_crl(const struct settings *s, const char *what, const char *path, const STACK_OF(X509) *ca)
{
	struct crl_file file;
	struct crl crl;
	int fd, scratch, rc;

	if (path[0] == '\0')
		return 0;
	fd = open_as_user(s, path);
	if (fd < 0)
		return fail_open(s, what, path);
	/* a container whose root is read-only may have no /tmp to write to */
	scratch = open(access("/tmp", W_OK) == 0 ? "/tmp" : "/dev/shm", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	rc = crl_file_read(fd, scratch, &file);
	close(fd);
	close(scratch);
	if (rc < 0)
		return finding(false, "%s %s: %s: expected a CRL as PEM or DER", what, path, rc == -EBADMSG ? "holds something else" : strerror(-rc));
	rc = crl_read(file.der, &crl);
	if (rc == CRL_OK && ca != NULL)
		rc = crl_verify_any(&crl, ca, time(NULL));
	rc = rc != CRL_OK ? finding(false, "%s %s: %s: %s", what, path, crl_result_text(rc),
				rc == CRL_WRONG_ISSUER || rc == CRL_BAD_SIGNATURE ? "name the CA's own list, or in issuer_ca the CA of this one" :
										    "publish a current one")
			  : finding(true, "%s %s: %zu revoked, next update in %lld h", what, path, crl.count,
				((long long)crl.next_update - (long long)time(NULL)) / 3600);
	crl_file_clear(&file);
	return rc;
}

static int check_accounts(const struct settings *s)
{
	const char *path = s->common.directory.file, *groups[SETTINGS_GROUPS_MAX + 1] = { NULL };
	unsigned groups_n = settings_groups(s, groups);
	struct config_error error = { "" };
	struct accounts *accounts;
	unsigned duplicates = 0;
	char *text;
	size_t n;
	int rc, fd = open_as_user(s, path);

	if (fd < 0)
		return fail_open(s, "accounts", path);
	close(fd);
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

/* Whom no source speaks of is unknown, and unknown is refused: nobody with such a certificate would get in. */
static int check_issuers(const struct settings *s, struct bundle *files)
{
	char why[512];
	struct issuers *all = issuers_new(&s->proxy, files, why, sizeof(why));
	int bad = 0;

	if (all == NULL)
		return finding(false, "%s", why);
	if (all->without > 0 && !s->proxy.revocation.unknown_allows)
		bad = finding(false, "%u of the CAs in client_ca have neither a CRL nor Redis: what they issued is refused with 503: add them to "
		    "proxy.revocation.crls", all->without);
	issuers_free(all);
	return bad;
}

static int check_crls(const struct settings *s, struct bundle *files)
{
	int bad = 0;

	for (unsigned i = 0; i < s->proxy.revocation.crls_count; i++) {
		const struct crl_settings *c = &s->proxy.revocation.crls[i];
		STACK_OF(X509) *ca = issuer_of(c, files);
		bad |= check_crl(s, "CRL", c->file, ca);
		bad |= check_crl(s, "delta CRL", c->delta_file, ca);
		sk_X509_pop_free(ca, X509_free);
	}
	return bad;
}

/* --- certificates of the hosts --- */

static int check_certificate(const struct host_settings *h, X509 *cert)
{
	int days = 0, seconds = 0, bad = 0;
	char why[TLS_WHY_MAX];

	if (!tls_certificate_is_valid(cert, h->certificate, why, sizeof(why)))
		return finding(false, "%s", why);
	for (unsigned i = 0; i < h->names_count; i++) {
		if (!tls_certificate_is_for(cert, h->names[i]))
			bad |= finding(false, "certificate %s is not for %s: devices that call it so refuse it: get one that names it (subjectAltName), "
			    "or correct names", h->certificate, h->names[i]);
	}
	(void)!ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(cert));
	return bad != 0 ? bad : finding(true, "certificate %s is for all names of its host, and ends in %d days", h->certificate, days);
}

static int check_certificates(const struct settings *s, struct bundle *files)
{
	char why[TLS_WHY_MAX];
	struct strv pem;
	int bad = 0;

	for (unsigned i = 0; i < s->proxy.hosts_count; i++) {
		const struct host_settings *h = &s->proxy.hosts[i];
		STACK_OF(X509) *certs = bundle_get(files, h->certificate, &pem) ? tls_certificates(pem, why, sizeof(why)) : NULL;
		/* one that cannot be read was said already */
		if (certs != NULL)
			bad |= check_certificate(h, sk_X509_value(certs, 0));
		sk_X509_pop_free(certs, X509_free);
	}
	return bad;
}

/* *all: whether each can be read. */
static int check_files(const struct plan *plan, bool *all)
{
	const struct settings *s = plan->settings;
	const char *paths[FILES_MAX];
	size_t n = plan_files(plan, paths, FILES_MAX);
	int bad = 0;

	*all = true;
	for (size_t i = 0; i < n; i++)
		bad |= check_file(s, paths[i], all);
	if (strcmp(s->common.directory.kind, "file") == 0)
		bad |= check_accounts(s);
	return bad;
}

static int check_user(const struct settings *s)
{
	struct passwd *pw = getpwnam(s->common.user);

	if (geteuid() != 0)
		return finding(true, "not run as root: user %s is not looked at", s->common.user);
	if (pw == NULL)
		return finding(false, "user %s: no such user: useradd --system --no-create-home %s", s->common.user, s->common.user);
	return pw->pw_uid == 0 ? finding(false, "user %s is root: name an unprivileged one", s->common.user) : finding(true, "user %s", s->common.user);
}

/* What needs all files. Where one is missing it could only say so again, in the words of a process that was not given it. */
static int check_together(const struct settings *s, struct bundle *files)
{
	char why[1024] = "";

	if (program_trial(s, files, why, sizeof(why)) < 0)
		return finding(false, "%s", why) | check_issuers(s, files);
	return finding(true, "keys, certificates and CAs fit together") | check_issuers(s, files);
}

int check_run(const char *config_file)
{
	struct config_error error = { "" };
	const struct settings *s;
	struct bundle *files;
	struct plan plan;
	bool all;
	int bad;

	if (easproxy_program.load(config_file, &plan, &error) < 0)
		return finding(false, "%s", error.text);
	s = plan.settings;
	bad = finding(true, "configuration %s", config_file);
	bad |= check_user(s);
	bad |= check_files(&plan, &all);
	files = bundle_from_disk();
	if (files == NULL)
		bad |= finding(false, "out of memory");
	else if (all)
		bad |= check_together(s, files);
	if (files != NULL)
		bad |= check_certificates(s, files) | check_crls(s, files);
	bundle_free(files);
	bad |= check_listeners(s);
	bad |= check_neighbours(s);
	easproxy_program.unload(&plan);
	return bad;
}
