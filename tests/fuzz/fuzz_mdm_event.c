/*
 * What a device manager posts. The first byte says whose and in which form; whatever is read of the rest is clean text that fits, and a refusal says why.
 */
#include "enroll/worker/mdm_event.h"

#include "common/text.h"
#include "fuzz.h"

static void look(const char *text, size_t size)
{
	FUZZ_CHECK(memchr(text, '\0', size) != NULL && text_is_clean(strv_from(text)));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	struct mdm_event e, untouched;
	const char *why = NULL;
	char *copy;

	if (n == 0)
		return 0;
	copy = fuzz_exact(bytes + 1, n - 1);
	memset(&e, 0x5a, sizeof(e));
	untouched = e;
	if (mdm_event_read((bytes[0] & 1) != 0 ? MDM_JAMF : MDM_WORKSPACE_ONE, (bytes[0] & 2) != 0, (struct strv){ copy, n - 1 }, &e, &why) < 0) {
		FUZZ_CHECK(why != NULL && memcmp(&e, &untouched, sizeof(e)) == 0);
	} else {
		FUZZ_CHECK(why == NULL && mdm_what_text(e.what) != NULL && e.type[0] != '\0');
		look(e.type, sizeof(e.type));
		look(e.serial_number, sizeof(e.serial_number));
		look(e.udid, sizeof(e.udid));
		look(e.user, sizeof(e.user));
		look(e.device_name, sizeof(e.device_name));
	}
	free(copy);
	return 0;
}
