/*
 * proxy_protocol: the header that a load balancer puts in front of a connection (HAProxy's PROXY
 * protocol, versions 1 and 2). Pure, incremental. Whom to believe it is the caller's to decide
 * (network.h).
 *
 * Refused: anything that is not exactly such a header from its first byte on. Version 1: longer
 * than 107 bytes, more or less than one space between words, addresses not of the family named,
 * ports with leading zeros, no CRLF. Version 2: more than PROXY_HEADER_MAX bytes, datagram
 * protocols, address blocks that are too short, extra fields (TLVs) that do not end where the
 * header does; their contents are skipped.
 */
#ifndef EASGATE_PROXY_PROTOCOL_H
#define EASGATE_PROXY_PROTOCOL_H

#include "common/base.h"

#include <sys/socket.h>

#define PROXY_HEADER_MAX 4096 /* bytes, the whole header */

enum proxy_result {
	PROXY_BAD = -300,
	PROXY_MORE = 0,
	PROXY_DONE = 1,
};

struct proxy_source {
	/*
	 * Nobody is named: LOCAL (the balancer's own check), UNKNOWN, UNSPEC or a Unix socket. The
	 * connection's own peer counts, and `address` is all zero.
	 */
	bool local;
	unsigned version;                /* 1 or 2 */
	struct sockaddr_storage address; /* AF_INET or AF_INET6, with the port */
	socklen_t size;                  /* of what counts in address; 0 when local */
};

/*
 * Reads from the n first bytes of a connection. PROXY_MORE: call again with these and more;
 * PROXY_DONE: *out is filled and *used bytes are taken; PROXY_BAD: close. More than
 * PROXY_HEADER_MAX bytes are never asked for.
 */
enum proxy_result proxy_protocol_read(
    struct proxy_source *out, const char *p, size_t n, size_t *used);

#endif
