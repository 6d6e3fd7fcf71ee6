/*
 * address: reads and prints addresses. Asks no resolver. Runs everywhere.
 */
#include "common/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>

#include "common/text.h"

/* Splits at the last colon that is not inside brackets. */
static int split_port(struct strv text, struct strv *host, struct strv *port)
{
	const char *colon;

	*port = (struct strv){ NULL, 0 };
	if (text.n > 0 && text.p[0] == '[') {
		const char *end = memchr(text.p, ']', text.n);
		if (end == NULL)
			return -1;
		*host = (struct strv){ text.p + 1, (size_t)(end - text.p - 1) };
		if (memchr(host->p, ':', host->n) == NULL)
			return -1;	/* brackets are for IPv6 alone */
		if (end + 1 == text.p + text.n)
			return 0;
		if (end[1] != ':')
			return -1;
		*port = (struct strv){ end + 2, (size_t)(text.p + text.n - end - 2) };
		return 0;
	}
	colon = memrchr(text.p, ':', text.n);
	if (colon == NULL) {
		*host = text;
		return 0;
	}
	*host = (struct strv){ text.p, (size_t)(colon - text.p) };
	*port = (struct strv){ colon + 1, (size_t)(text.p + text.n - colon - 1) };
	return memchr(host->p, ':', host->n) != NULL ? -1 : 0;
}

static bool host_is_sound(struct strv host)
{
	if (host.n == 0 || host.n > 255)
		return false;
	for (size_t i = 0; i < host.n; i++) {
		char c = text_lower_char(host.p[i]);
		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == ':' || c == '_'))
			return false;
	}
	return true;
}

int host_port_parse(struct strv text, uint16_t port, char host[256], uint16_t *out_port)
{
	struct strv h, p;
	uint64_t number = port;

	if (text.n == 0 || split_port(text, &h, &p) < 0 || !host_is_sound(h))
		return -1;
	if (p.p != NULL && text_u64(p, 65535, &number) < 0)
		return -1;
	memcpy(host, h.p, h.n);
	host[h.n] = '\0';
	*out_port = (uint16_t)number;
	return 0;
}

int address_parse(struct strv text, struct address *out)
{
	struct address a = { .len = 0 };
	struct sockaddr_in *v4 = (struct sockaddr_in *)&a.sa;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&a.sa;
	struct strv h, p;
	char host[256];
	uint16_t port;

	if (text.n == 0 || split_port(text, &h, &p) < 0 || p.n == 0 || host_port_parse(text, 0, host, &port) < 0)
		return -1;
	if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
		a.len = sizeof(*v4);
	} else if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(port);
		a.len = sizeof(*v6);
	} else {
		return -1;
	}
	*out = a;
	return 0;
}

void address_print(const struct sockaddr *sa, char out[ADDRESS_TEXT_MAX])
{
	char host[INET6_ADDRSTRLEN] = "";

	if (sa->sa_family == AF_INET) {
		const struct sockaddr_in *v4 = (const struct sockaddr_in *)sa;
		inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host));
		snprintf(out, ADDRESS_TEXT_MAX, "%s:%u", host, ntohs(v4->sin_port));
	} else if (sa->sa_family == AF_INET6) {
		const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)sa;
		inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host));
		snprintf(out, ADDRESS_TEXT_MAX, "[%s]:%u", host, ntohs(v6->sin6_port));
	} else {
		snprintf(out, ADDRESS_TEXT_MAX, "-");
	}
}

const char *address_bare(const char *printed, char out[ADDRESS_TEXT_MAX])
{
	const char *from = printed[0] == '[' ? printed + 1 : printed, *colon = strrchr(from, ':');
	size_t n = colon != NULL ? (size_t)(colon - from) : strlen(from);

	if (n > 0 && from[n - 1] == ']')
		n--;
	memcpy(out, from, n);
	out[n] = '\0';
	return out;
}

int server_url_parse(struct strv text, struct server_url *out)
{
	struct server_url url = { .tls = false };
	struct strv rest = text;

	if (text_starts_nocase(text, STRV("https://"))) {
		url.tls = true;
		rest = (struct strv){ text.p + 8, text.n - 8 };
	} else if (text_starts_nocase(text, STRV("http://"))) {
		rest = (struct strv){ text.p + 7, text.n - 7 };
	} else {
		return -1;
	}
	if (rest.n > 0 && rest.p[rest.n - 1] == '/')
		rest.n--;
	if (host_port_parse(rest, url.tls ? 443 : 80, url.host, &url.port) < 0 || url.port == 0)
		return -1;
	*out = url;
	return 0;
}
