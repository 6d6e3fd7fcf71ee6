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

const char *sign_in_result_text(uint32_t result)
{
	static const char *const text[SIGN_IN_RESULTS] = {
		[SIGN_IN_UNAVAILABLE] = "directory-unavailable",
		[SIGNED_IN] = "signed-in",
		[SIGN_IN_WRONG] = "password-wrong",
		[SIGN_IN_UNKNOWN] = "account-unknown",
		[SIGN_IN_DISABLED] = "account-disabled",
		[SIGN_IN_EXPIRED] = "account-expired",
		[SIGN_IN_LOCKED] = "account-locked",
		[SIGN_IN_MUST_CHANGE] = "password-must-change",
		[SIGN_IN_NOT_NOW] = "logon-not-allowed-now",
		[SIGN_IN_GUARDED] = "near-lockout-not-tried",
	};

	return result < SIGN_IN_RESULTS ? text[result] : "sign-in-result-unknown";
}
