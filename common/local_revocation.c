/*
 * local_revocation: the form of one message, written and checked. Pure.
 */
#include "common/local_revocation.h"

void local_message_write(struct local_message *out, const uint8_t issuer[SHA256_SIZE], const struct serial *serial, uint64_t number)
{
	*out = (struct local_message){ .version = LOCAL_REVOCATION_VERSION, .number = number };
	memcpy(out->issuer, issuer, SHA256_SIZE);
	if (serial == NULL)
		return;
	out->serial_n = serial->n;
	memcpy(out->serial, serial->byte, serial->n);
}

static bool is_zero(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != 0)
			return false;
	return true;
}

int local_message_read(enum local_verb verb, const void *body, size_t n, struct local_message *out, const char **why)
{
	struct local_message m;

	*why = "is of another length";
	if (n != sizeof(m))
		return -1;
	memcpy(&m, body, sizeof(m));
	*why = "is of another version: restart both programs after an upgrade";
	if (m.version != LOCAL_REVOCATION_VERSION)
		return -1;
	*why = "has something where nothing belongs";
	if (!is_zero(m.reserved, sizeof(m.reserved)) || !is_zero(m.padding, sizeof(m.padding)))
		return -1;
	*why = "has no serial as certificates have it";
	if ((verb == LOCAL_REVOKED) != (m.serial_n > 0) || m.serial_n > SERIAL_MAX || (m.serial_n > 0 && m.serial[0] == 0) ||
	    !is_zero(m.serial + m.serial_n, SERIAL_MAX - (size_t)m.serial_n))
		return -1;
	*why = "has no number as lists have it";
	if (m.number > INT64_MAX)
		return -1;
	*why = NULL;
	*out = m;
	return 0;
}

void local_message_number(uint64_t number, struct serial *out)
{
	int shift = 56;

	*out = (struct serial){ .n = 0 };
	while (shift > 0 && (number >> shift & 0xff) == 0)
		shift -= 8;
	for (; number != 0 && shift >= 0; shift -= 8)
		out->byte[out->n++] = (uint8_t)(number >> shift);
}
