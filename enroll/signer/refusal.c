/*
 * refusal: texts of what was not done. Runs in the signer and in commands; keeps nothing.
 */
#include "enroll/signer/refusal.h"

#include <openssl/err.h>
#include <stdarg.h>
#include <stdio.h>

int refuse(struct refusal *r, enum signer_status status, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(r->text, sizeof(r->text), fmt, args);
	va_end(args);
	r->status = status;
	ERR_clear_error();
	return -1;
}

int refuse_openssl(struct refusal *r, const char *fmt, ...)
{
	const char *reason = ERR_reason_error_string(ERR_peek_error());
	va_list args;
	size_t n;

	va_start(args, fmt);
	vsnprintf(r->text, sizeof(r->text), fmt, args);
	va_end(args);
	n = strlen(r->text);
	snprintf(
	    r->text + n, sizeof(r->text) - n, ": %s", reason != NULL ? reason : "no reason given");
	r->status = SIGNER_BROKEN;
	ERR_clear_error();
	return -1;
}
