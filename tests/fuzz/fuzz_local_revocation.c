/*
 * What comes over the local socket of the revocation process: the first byte says which verb, the rest is the body. What is taken is a whole message
 * that would be written the same way again.
 */
#include "common/local_revocation.h"

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	struct local_message m, again;
	struct serial serial, number;
	const char *why = NULL;
	enum local_verb verb;
	char *copy;

	if (n == 0)
		return 0;
	verb = bytes[0] % 2 == 0 ? LOCAL_REVOKED : LOCAL_LISTED;
	copy = fuzz_exact(bytes + 1, n - 1);
	if (local_message_read(verb, copy, n - 1, &m, &why) < 0) {
		FUZZ_CHECK(why != NULL);
	} else {
		FUZZ_CHECK(why == NULL && n - 1 == sizeof(m) && (verb == LOCAL_REVOKED) == (m.serial_n > 0) && m.serial_n <= SERIAL_MAX);
		serial.n = m.serial_n;
		memcpy(serial.byte, m.serial, SERIAL_MAX);
		local_message_write(&again, m.issuer, verb == LOCAL_REVOKED ? &serial : NULL, m.number);
		FUZZ_CHECK(memcmp(&again, &m, sizeof(m)) == 0);
		local_message_number(m.number, &number);
		FUZZ_CHECK(number.n <= 8 && (number.n == 0 ? m.number == 0 : number.byte[0] != 0));
	}
	free(copy);
	return 0;
}
