/*
 * eas_query: the plain query (Cmd=..&DeviceId=..) and the base64 one.
 * Refuses, never repairs: a repeated parameter or a wrong length is no query.
 * Part of the sample mail server, which runs as one process.
 */
#include "eas_query.h"

#include <string.h>
#include <strings.h>

#include "text.h"

#define QUERY_MAX 2048

static const char *const command_names[EAS_COMMANDS] = {
	[0] = "Sync", [1] = "SendMail", [2] = "SmartForward", [3] = "SmartReply",
	[4] = "GetAttachment", [9] = "FolderSync", [10] = "FolderCreate", [11] = "FolderDelete",
	[12] = "FolderUpdate", [13] = "MoveItems", [14] = "GetItemEstimate",
	[15] = "MeetingResponse", [16] = "Search", [17] = "Settings", [18] = "Ping",
	[19] = "ItemOperations", [20] = "Provision", [21] = "ResolveRecipients",
	[22] = "ValidateCert", [23] = "Find",
};

const char *eas_command_name(enum eas_command command)
{
	return (unsigned)command < EAS_COMMANDS ? command_names[command] : NULL;
}

unsigned eas_version_parse(const char *text)
{
	static const struct { const char *text; unsigned version; } known[] = {
		{ "2.5", 25 }, { "12.0", 120 }, { "12.1", 121 }, { "14.0", 140 },
		{ "14.1", 141 }, { "16.0", 160 }, { "16.1", 161 },
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(text, known[i].text) == 0)
			return known[i].version;
	return 0;
}

static int command_by_name(const char *name, enum eas_command *out)
{
	for (unsigned i = 0; i < EAS_COMMANDS; i++) {
		if (command_names[i] != NULL && strcmp(name, command_names[i]) == 0) {
			*out = (enum eas_command)i;
			return 0;
		}
	}
	return -1;
}

/* One name=value of the plain query. `seen` has a bit for each parameter we read. */
static int plain_parameter(const char *p, size_t n, struct eas_query *q, unsigned *seen)
{
	static const char *const names[] = { "Cmd", "DeviceId", "DeviceType", "SaveInSent" };
	const char *equals = memchr(p, '=', n);
	char value[EAS_TEXT_MAX + 1];
	size_t name_n, which;

	if (equals == NULL)
		return -1;
	name_n = (size_t)(equals - p);
	for (which = 0; which < 4; which++)
		if (strlen(names[which]) == name_n && strncasecmp(names[which], p, name_n) == 0)
			break;
	if (which == 4)
		return 0;               /* User, ItemId and so on: not ours to judge */
	if ((*seen & 1u << which) != 0)
		return -1;
	*seen |= 1u << which;
	if (text_percent(equals + 1, n - name_n - 1, value, sizeof(value)) < 0)
		return -1;
	switch (which) {
	case 0:
		return command_by_name(value, &q->command);
	case 1:
		memcpy(q->device_id, value, sizeof(value));
		return value[0] == '\0' ? -1 : 0;
	case 2:
		memcpy(q->device_type, value, sizeof(value));
		return 0;
	default:
		q->save_in_sent = strcmp(value, "T") == 0;
		return 0;
	}
}

static int plain_parse(const char *query, struct eas_query *q)
{
	unsigned seen = 0;

	while (*query != '\0') {
		size_t n = strcspn(query, "&");

		if (n > 0 && plain_parameter(query, n, q, &seen) < 0)
			return -1;
		query += n;
		if (*query == '&')
			query++;
	}
	return (seen & 3u) == 3u ? 0 : -1;      /* a command and a device */
}

/* A length byte and that many bytes; *at moves behind them. */
static int counted(const unsigned char *b, size_t n, size_t *at, const unsigned char **out,
    size_t *out_n)
{
	if (*at >= n || n - *at - 1 < b[*at])
		return -1;
	*out_n = b[*at];
	*out = b + *at + 1;
	*at += 1 + *out_n;
	return 0;
}

/* Printable bytes as they are, a raw GUID as hex. */
static int device_text(const unsigned char *b, size_t n, char out[EAS_TEXT_MAX + 1])
{
	static const char hex[] = "0123456789ABCDEF";
	bool raw = false;

	for (size_t i = 0; i < n; i++)
		raw |= b[i] <= 0x20 || b[i] >= 0x7f;
	if (n > (raw ? EAS_TEXT_MAX / 2 : EAS_TEXT_MAX))
		return -1;
	for (size_t i = 0; i < n; i++) {
		if (raw) {
			out[2 * i] = hex[b[i] >> 4];
			out[2 * i + 1] = hex[b[i] & 15];
		} else {
			out[i] = (char)b[i];
		}
	}
	out[raw ? 2 * n : n] = '\0';
	return 0;
}

static int base64_fields(const unsigned char *b, size_t n, struct eas_query *q)
{
	const unsigned char *field;
	size_t at = 4, field_n;

	if (n < 5 || (b[0] != 120 && b[0] != 121 && b[0] != 140 && b[0] != 141 &&
	    b[0] != 160 && b[0] != 161))
		return -1;
	q->version = b[0];
	q->command = (enum eas_command)b[1];
	if (eas_command_name(q->command) == NULL)
		return -1;
	if (counted(b, n, &at, &field, &field_n) < 0 || field_n == 0 ||
	    device_text(field, field_n, q->device_id) < 0)
		return -1;
	if (counted(b, n, &at, &field, &field_n) < 0 || (field_n != 0 && field_n != 4))
		return -1;
	if (field_n == 4) {
		q->has_policy_key = true;
		q->policy_key = (uint32_t)field[0] | (uint32_t)field[1] << 8 |
		    (uint32_t)field[2] << 16 | (uint32_t)field[3] << 24;
	}
	if (counted(b, n, &at, &field, &field_n) < 0 ||
	    device_text(field, field_n, q->device_type) < 0)
		return -1;
	while (at < n) {
		unsigned char tag = b[at++];

		if (counted(b, n, &at, &field, &field_n) < 0)
			return -1;
		if (tag == 7 && field_n == 1)   /* Options: bit 0 is SaveInSent */
			q->save_in_sent = (field[0] & 1) != 0;
	}
	return 0;
}

static int base64_parse(const char *query, struct eas_query *q)
{
	unsigned char bytes[QUERY_MAX];
	char text[QUERY_MAX];
	ssize_t n;

	if (text_percent(query, strlen(query), text, sizeof(text)) < 0)
		return -1;
	n = text_base64(text, strlen(text), false, bytes);
	if (n < 0)
		return -1;
	return base64_fields(bytes, (size_t)n, q);
}

int eas_query_parse(const char *query, struct eas_query *out)
{
	struct eas_query q = { 0 };
	size_t to_equals = strcspn(query, "=");
	int rc;

	if (strlen(query) >= QUERY_MAX)
		return -1;
	/* In base64 a '=' is padding and stands at the very end. */
	if (strspn(query + to_equals, "=") == strlen(query + to_equals))
		rc = base64_parse(query, &q);
	else
		rc = plain_parse(query, &q);
	if (rc == 0)
		*out = q;
	return rc;
}
