/*
 * network: CIDR lists. Must not resolve names or open sockets. Pure; runs in every process.
 */
#include "common/network.h"

#include "common/text.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#define V4_BITS 96 /* ::ffff:0:0/96 (RFC 4291 section 2.5.5.2) */

static const uint8_t v4_prefix[12] = { [10] = 0xff, [11] = 0xff };

static bool is_v4(const uint8_t address[16])
{
	return memcmp(address, v4_prefix, sizeof(v4_prefix)) == 0;
}

static bool bit_is_set(const uint8_t address[16], unsigned i)
{
	return (address[i / 8] >> (7 - i % 8) & 1) != 0;
}

int network_parse(struct network *out, struct strv text)
{
	struct network network = { .set = true };
	struct strv rest = text, host = text_split(&rest, '/');
	char name[INET6_ADDRSTRLEN];
	uint64_t bits = 128;

	if (text_copy(name, sizeof(name), host) < 0)
		return -1;
	if (inet_pton(AF_INET, name, network.address + sizeof(v4_prefix)) == 1)
		memcpy(network.address, v4_prefix, sizeof(v4_prefix));
	else if (inet_pton(AF_INET6, name, network.address) != 1)
		return -1;
	if (rest.p != NULL) {
		bool v4 = memchr(name, ':', strlen(name)) == NULL;

		if ((rest.n > 1 && rest.p[0] == '0') || text_u64(rest, v4 ? 32 : 128, &bits) < 0)
			return -1;
		bits += v4 ? V4_BITS : 0;
	}
	for (unsigned i = (unsigned)bits; i < 128; i++) {
		if (bit_is_set(network.address, i))
			return -1;
	}
	network.bits = (uint8_t)bits;
	*out = network;
	return 0;
}

/* The address in 16 bytes; false for other families. */
static bool to_bytes(uint8_t out[16], const struct sockaddr *address)
{
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;

	if (address->sa_family == AF_INET) {
		memcpy(&v4, address, sizeof(v4));
		memcpy(out, v4_prefix, sizeof(v4_prefix));
		memcpy(out + sizeof(v4_prefix), &v4.sin_addr, 4);
		return true;
	}
	if (address->sa_family == AF_INET6) {
		memcpy(&v6, address, sizeof(v6));
		memcpy(out, &v6.sin6_addr, 16);
		return true;
	}
	return false;
}

bool network_contains(const struct network *network, const struct sockaddr *address)
{
	unsigned whole = network->bits / 8u, odd = network->bits % 8u;
	uint8_t bytes[16];

	if (!network->set || !to_bytes(bytes, address))
		return false;
	if (is_v4(bytes) != (network->bits >= V4_BITS && is_v4(network->address)))
		return false;
	if (memcmp(bytes, network->address, whole) != 0)
		return false;
	return odd == 0 || (bytes[whole] ^ network->address[whole]) >> (8 - odd) == 0;
}

bool network_list_contains(const struct network *list, size_t n, const struct sockaddr *address)
{
	for (size_t i = 0; i < n; i++) {
		if (network_contains(&list[i], address))
			return true;
	}
	return false;
}
