/*
 * ask: the names of the answers. Pure; runs in every process.
 */
#include "common/lockout/ask.h"

const char *lockout_result_text(uint32_t result)
{
	static const char *const text[LOCKOUT_RESULTS] = {
		[LOCKOUT_UNAVAILABLE] = "password-check-unavailable",
		[LOCKOUT_RIGHT] = "password-right",
		[LOCKOUT_WRONG] = "password-wrong",
		[LOCKOUT_KNOWN_WRONG] = "password-known-wrong",
		[LOCKOUT_UNKNOWN] = "account-unknown",
		[LOCKOUT_DISABLED] = "account-disabled",
		[LOCKOUT_EXPIRED] = "account-expired",
		[LOCKOUT_LOCKED] = "account-locked",
		[LOCKOUT_MUST_CHANGE] = "password-must-change",
		[LOCKOUT_NOT_NOW] = "logon-not-allowed-now",
		[LOCKOUT_GUARDED] = "near-lockout-not-tried",
		[LOCKOUT_ACCOUNT_BUDGET] = "too-many-for-account",
		[LOCKOUT_ADDRESS_BUDGET] = "too-many-from-address",
		[LOCKOUT_OVERLOADED] = "password-check-overloaded",
	};

	return result < LOCKOUT_RESULTS ? text[result] : "lockout-result-unknown";
}
