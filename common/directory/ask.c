/*
 * ask: the names of the answers. Pure; runs in every process.
 */
#include "common/directory/ask.h"

const char *account_result_text(uint32_t result)
{
	static const char *const text[] = {
		[ACCOUNT_UNAVAILABLE] = "directory-unavailable",
		[ACCOUNT_FOUND] = "found",
		[ACCOUNT_UNKNOWN] = "account-unknown",
		[ACCOUNT_AMBIGUOUS] = "account-ambiguous",
		[ACCOUNT_MISMATCH] = "account-sid-mismatch",
	};

	return result < ARRAY_LEN(text) ? text[result] : "account-result-unknown";
}
