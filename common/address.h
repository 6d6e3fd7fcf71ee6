/*
 * address: numeric socket addresses and server URLs as the configuration writes them. Pure.
 */
#ifndef EASGATE_ADDRESS_H
#define EASGATE_ADDRESS_H

#include <sys/socket.h>

#include "common/base.h"

struct address {
	struct sockaddr_storage sa;
	socklen_t len;
};

/* "127.0.0.1:443", "[::1]:443", "0.0.0.0:0": numeric hosts only. 0 or -1. */
MUST_CHECK int address_parse(struct strv text, struct address *out);
/* The same form back; always terminated. */
#define ADDRESS_TEXT_MAX 64
void address_print(const struct sockaddr *sa, char out[ADDRESS_TEXT_MAX]);
/* What address_print() gave, without its port and brackets: "10.0.0.7:51000" to "10.0.0.7", "[::1]:51000" to "::1". Returns out. */
const char *address_bare(const char *printed, char out[ADDRESS_TEXT_MAX]);

/* "http://host[:port]" or "https://host[:port]", nothing behind; host is a DNS name or address literal. */
struct server_url {
	bool tls;
	char host[256];		/* without brackets */
	uint16_t port;
};
MUST_CHECK int server_url_parse(struct strv text, struct server_url *out);
/* "host:port", "[v6]:port"; without a port `port` is taken. */
MUST_CHECK int host_port_parse(struct strv text, uint16_t port, char host[256], uint16_t *out_port);

#endif
