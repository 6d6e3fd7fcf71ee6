/*
 * What a webhook answers to the question whose challenge it is: only a whole yes grants anything, and then clean texts within their room.
 */
#include "enroll/worker/scep_parts.h"

#include "common/text.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	char reason[SCEP_REASON_MAX];
	struct scep_grant grant;
	json_error_t error;
	json_t *object;
	const char *why;

	if (n > WEBHOOK_ANSWER_MAX)
		return 0;
	object = json_loadb((const char *)bytes, n, JSON_REJECT_DUPLICATES, &error);
	if (json_is_object(object)) {
		why = scep_webhook_read(object, &grant, reason);
		FUZZ_CHECK(why == NULL || why[0] != '\0');
		FUZZ_CHECK(text_is_clean(strv_from(reason)) && strlen(reason) < sizeof(reason));
		FUZZ_CHECK(why != NULL || (json_is_true(json_object_get(object, "allow")) && grant.claim[0] != '\0' && !grant.has_secret));
		FUZZ_CHECK(why != NULL || (text_is_clean(strv_from(grant.claim)) && text_is_clean(strv_from(grant.device)) &&
		    text_is_clean(strv_from(grant.device_name))));
	}
	json_decref(object);
	return 0;
}
