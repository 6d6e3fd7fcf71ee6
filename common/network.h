/*
 * network: lists of networks ("10.0.0.0/8", "::1/128") and whether an address lies in one. Pure.
 */
#ifndef EASGATE_NETWORK_H
#define EASGATE_NETWORK_H

#include "common/base.h"

#include <sys/socket.h>

/*
 * An IPv4 network is kept as ::ffff:0:0/96 and below. Zero-initialised it holds no address at all.
 */
struct network {
	uint8_t address[16];
	uint8_t bits; /* 0 to 128 */
	bool set;
};

/*
 * "address/bits", or an address alone for just that one. Refused (-1, *out untouched): anything
 * else, bits beyond the family's, bits set behind the prefix ("10.1.0.0/8"), zones
 * ("fe80::1%eth0"), leading zeros, white space.
 */
MUST_CHECK int network_parse(struct network *out, struct strv text);

/*
 * An IPv6 socket's v4-mapped peer counts as the IPv4 address that it is; so "::/0" holds no IPv4
 * address and "0.0.0.0/0" no other. An address of another family lies nowhere.
 */
bool network_contains(const struct network *network, const struct sockaddr *address);
bool network_list_contains(const struct network *list, size_t n, const struct sockaddr *address);

#endif
