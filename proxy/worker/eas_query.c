/*
 * eas_query: what an ActiveSync request asks for, read from its query in either form (MS-ASHTTP
 * section 2.2.1.1.1). Must not decide whether it may (policy.c), nor change a byte of what goes on.
 * Pure; runs in the worker process.
 */
#include "proxy/worker/eas_query.h"

#include "common/text.h"

#define BASE64_MAX 2048 /* decoded bytes: the fixed part and every parameter at its longest */
#define DEVICE_MAX 64
#define GUID_SIZE 16
#define TAG_OPTIONS 7
#define TAG_USER 8

const char *const eas_command_names[] = {
	[EAS_NONE] = "-",
	[EAS_SYNC] = "Sync",
	[EAS_SENDMAIL] = "SendMail",
	[EAS_SMARTFORWARD] = "SmartForward",
	[EAS_SMARTREPLY] = "SmartReply",
	[EAS_GETATTACHMENT] = "GetAttachment",
	[EAS_GETHIERARCHY] = "GetHierarchy",
	[EAS_CREATECOLLECTION] = "CreateCollection",
	[EAS_DELETECOLLECTION] = "DeleteCollection",
	[EAS_MOVECOLLECTION] = "MoveCollection",
	[EAS_FOLDERSYNC] = "FolderSync",
	[EAS_FOLDERCREATE] = "FolderCreate",
	[EAS_FOLDERDELETE] = "FolderDelete",
	[EAS_FOLDERUPDATE] = "FolderUpdate",
	[EAS_MOVEITEMS] = "MoveItems",
	[EAS_GETITEMESTIMATE] = "GetItemEstimate",
	[EAS_MEETINGRESPONSE] = "MeetingResponse",
	[EAS_SEARCH] = "Search",
	[EAS_SETTINGS] = "Settings",
	[EAS_PING] = "Ping",
	[EAS_ITEMOPERATIONS] = "ItemOperations",
	[EAS_PROVISION] = "Provision",
	[EAS_RESOLVERECIPIENTS] = "ResolveRecipients",
	[EAS_VALIDATECERT] = "ValidateCert",
	[EAS_FIND] = "Find",
	[EAS_OPTIONS] = "Options",
	[EAS_COMMANDS] = NULL,
};

/* Command codes of the base64 form. 5 to 8 are not assigned. */
static const uint8_t codes[] = {
	[0] = EAS_SYNC,
	[1] = EAS_SENDMAIL,
	[2] = EAS_SMARTFORWARD,
	[3] = EAS_SMARTREPLY,
	[4] = EAS_GETATTACHMENT,
	[9] = EAS_FOLDERSYNC,
	[10] = EAS_FOLDERCREATE,
	[11] = EAS_FOLDERDELETE,
	[12] = EAS_FOLDERUPDATE,
	[13] = EAS_MOVEITEMS,
	[14] = EAS_GETITEMESTIMATE,
	[15] = EAS_MEETINGRESPONSE,
	[16] = EAS_SEARCH,
	[17] = EAS_SETTINGS,
	[18] = EAS_PING,
	[19] = EAS_ITEMOPERATIONS,
	[20] = EAS_PROVISION,
	[21] = EAS_RESOLVERECIPIENTS,
	[22] = EAS_VALIDATECERT,
	[23] = EAS_FIND,
};

enum parameter {
	PARAMETER_OTHER = 0, /* passes unread */
	PARAMETER_CMD,
	PARAMETER_USER,
	PARAMETER_DEVICE_ID,
	PARAMETER_DEVICE_TYPE,
	PARAMETER_KNOWN, /* the protocol's, but nothing here depends on it */
};

static const struct {
	const char *name;
	enum parameter is;
} parameters[] = {
	{ "Cmd", PARAMETER_CMD },
	{ "User", PARAMETER_USER },
	{ "DeviceId", PARAMETER_DEVICE_ID },
	{ "DeviceType", PARAMETER_DEVICE_TYPE },
	{ "CollectionId", PARAMETER_KNOWN },
	{ "ItemId", PARAMETER_KNOWN },
	{ "LongId", PARAMETER_KNOWN },
	{ "Occurrence", PARAMETER_KNOWN },
	{ "SaveInSent", PARAMETER_KNOWN },
	{ "AttachmentName", PARAMETER_KNOWN },
};

const char *eas_command_name(enum eas_command command)
{
	return (unsigned)command < EAS_COMMANDS ? eas_command_names[command] : "-";
}

const char *eas_query_result_text(enum eas_query_result result)
{
	switch (result) {
	case EAS_QUERY_OK: return "read";
	case EAS_QUERY_EMPTY: return "no query";
	case EAS_QUERY_BAD: return "malformed ActiveSync query";
	case EAS_QUERY_DOUBLE: return "parameter given twice";
	case EAS_QUERY_UNKNOWN_COMMAND: return "unknown ActiveSync command";
	case EAS_QUERY_BAD_DEVICE: return "device id missing or malformed";
	case EAS_QUERY_TOO_LONG: return "ActiveSync query or value too long";
	}
	return "unknown result";
}

static bool is_id_char(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
	    c == '.' || c == '_' || c == '-';
}

static bool is_id(struct strv text)
{
	for (size_t i = 0; i < text.n; i++) {
		if (!is_id_char(text.p[i]))
			return false;
	}
	return text.n > 0;
}

/* --- the plain form --- */

static enum parameter parameter_of(struct strv name)
{
	for (size_t i = 0; i < ARRAY_LEN(parameters); i++) {
		if (text_eq_nocase(name, strv_from(parameters[i].name)))
			return parameters[i].is;
	}
	return PARAMETER_OTHER;
}

/* The name in front of the first '='; p == NULL if there is none. */
static struct strv name_of(struct strv pair)
{
	struct strv name = text_split(&pair, '=');

	return pair.p != NULL ? name : (struct strv){ NULL, 0 };
}

/*
 * Some servers split at ';' too: what they would then take for one of our names must not hide in
 * another's value.
 */
static bool hides_parameter(struct strv pair)
{
	text_split(&pair, ';');
	while (pair.p != NULL) {
		struct strv name = name_of(text_split(&pair, ';'));
		enum parameter is = name.p != NULL ? parameter_of(name) : PARAMETER_OTHER;

		if ((is != PARAMETER_OTHER && is != PARAMETER_KNOWN) ||
		    (name.n > 0 && memchr(name.p, '%', name.n) != NULL))
			return true;
	}
	return false;
}

static enum eas_query_result read_command(struct eas_query *q, struct strv value)
{
	for (unsigned i = EAS_NONE + 1; i < EAS_COMMANDS; i++) {
		if (text_eq_nocase(value, strv_from(eas_command_names[i]))) {
			q->command = (enum eas_command)i;
			return EAS_QUERY_OK;
		}
	}
	return EAS_QUERY_UNKNOWN_COMMAND;
}

/* Percent-decoded, clean text into a C string. */
static enum eas_query_result read_text(char *out, size_t size, struct strv value)
{
	char plain[1024];
	long n;

	if (value.n >= 3 * size)
		return EAS_QUERY_TOO_LONG;
	n = text_percent_decode(plain, sizeof(plain), value);
	if (n < 0 || !text_is_clean((struct strv){ plain, (size_t)n }))
		return EAS_QUERY_BAD;
	if ((size_t)n >= size)
		return EAS_QUERY_TOO_LONG;
	return text_copy(out, size, (struct strv){ plain, (size_t)n }) < 0 ? EAS_QUERY_BAD :
									     EAS_QUERY_OK;
}

static enum eas_query_result read_device_id(struct eas_query *q, struct strv value)
{
	if (value.n > DEVICE_MAX || !is_id(value) ||
	    text_copy(q->device_id, sizeof(q->device_id), value) < 0)
		return EAS_QUERY_BAD_DEVICE;
	return EAS_QUERY_OK;
}

static enum eas_query_result read_pair(struct eas_query *q, struct strv pair, unsigned *seen)
{
	struct strv value = pair, name = name_of(pair);
	enum parameter is;

	/* a name with an escape in it means one thing before it is decoded and another after */
	if (!is_id(name) || hides_parameter(pair))
		return EAS_QUERY_BAD;
	text_split(&value, '=');
	is = parameter_of(name);
	if (is == PARAMETER_OTHER || is == PARAMETER_KNOWN)
		return EAS_QUERY_OK;
	if (*seen & 1u << is)
		return EAS_QUERY_DOUBLE;
	*seen |= 1u << is;
	switch (is) {
	case PARAMETER_CMD: return read_command(q, value);
	case PARAMETER_USER: return read_text(q->user, sizeof(q->user), value);
	case PARAMETER_DEVICE_ID: return read_device_id(q, value);
	default: return read_text(q->device_type, sizeof(q->device_type), value);
	}
}

static enum eas_query_result read_plain(struct eas_query *q, struct strv query)
{
	enum eas_query_result r;
	unsigned seen = 0;

	do {
		r = read_pair(q, text_split(&query, '&'), &seen);
	} while (r == EAS_QUERY_OK && query.p != NULL);
	if (r == EAS_QUERY_OK && q->device_id[0] == '\0')
		r = EAS_QUERY_BAD_DEVICE;
	return r;
}

/* --- the base64 form --- */

/* Takes n bytes off the front; p == NULL in the answer: there are not so many. */
static struct strv take(struct strv *rest, size_t n)
{
	struct strv front = { rest->p, n };

	if (n > rest->n)
		return (struct strv){ NULL, 0 };
	rest->p += n;
	rest->n -= n;
	return front;
}

/* The same for a byte that counts and what it counts. */
static struct strv take_counted(struct strv *rest)
{
	struct strv count = take(rest, 1);

	return count.p != NULL ? take(rest, (unsigned char)count.p[0]) : count;
}

/* Devices send their id as text or, always 16 bytes, as a bare GUID. */
static enum eas_query_result read_raw_device_id(struct eas_query *q, struct strv id)
{
	if (id.p == NULL)
		return EAS_QUERY_BAD;
	if (is_id(id) || id.n != GUID_SIZE)
		return read_device_id(q, id);
	text_hex(q->device_id, id.p, id.n);
	for (char *p = q->device_id; *p != '\0'; p++) {
		if (*p >= 'a')
			*p = (char)(*p - 'a' + 'A');
	}
	return EAS_QUERY_OK;
}

static enum eas_query_result read_policy_key(struct eas_query *q, struct strv key)
{
	if (key.p == NULL || (key.n != 0 && key.n != 4))
		return EAS_QUERY_BAD;
	q->has_policy_key = key.n == 4;
	for (size_t i = key.n; i > 0; i--)
		q->policy_key = q->policy_key << 8 | (unsigned char)key.p[i - 1];
	return EAS_QUERY_OK;
}

static enum eas_query_result read_raw_text(char *out, size_t size, struct strv text)
{
	if (text.p == NULL || !text_is_clean(text))
		return EAS_QUERY_BAD;
	return text_copy(out, size, text) < 0 ? EAS_QUERY_TOO_LONG : EAS_QUERY_OK;
}

static enum eas_query_result read_tags(struct eas_query *q, struct strv rest)
{
	enum eas_query_result r = EAS_QUERY_OK;
	unsigned seen = 0;

	while (r == EAS_QUERY_OK && rest.n > 0) {
		unsigned tag = (unsigned char)take(&rest, 1).p[0];
		struct strv value = take_counted(&rest);

		if (tag > TAG_USER || value.p == NULL || (tag == TAG_OPTIONS && value.n != 1))
			return EAS_QUERY_BAD;
		if (seen & 1u << tag)
			return EAS_QUERY_DOUBLE;
		seen |= 1u << tag;
		if (tag == TAG_USER)
			r = read_raw_text(q->user, sizeof(q->user), value);
	}
	return r;
}

static enum eas_query_result read_fixed(struct eas_query *q, struct strv rest)
{
	static const uint8_t versions[] = { 121, 140, 141, 160, 161 };
	struct strv start =
	    take(&rest, 4); /* version, command, and the locale, which decides nothing */
	enum eas_query_result r;
	unsigned code;

	if (start.p == NULL ||
	    memchr(versions, (unsigned char)start.p[0], sizeof(versions)) == NULL)
		return EAS_QUERY_BAD;
	q->version = (unsigned char)start.p[0];
	code = (unsigned char)start.p[1];
	if (code >= ARRAY_LEN(codes) || codes[code] == EAS_NONE)
		return EAS_QUERY_UNKNOWN_COMMAND;
	q->command = (enum eas_command)codes[code];
	r = read_raw_device_id(q, take_counted(&rest));
	if (r == EAS_QUERY_OK)
		r = read_policy_key(q, take_counted(&rest));
	if (r == EAS_QUERY_OK)
		r = read_raw_text(q->device_type, sizeof(q->device_type), take_counted(&rest));
	return r == EAS_QUERY_OK ? read_tags(q, rest) : r;
}

/*
 * Undoes the escapes that stand for '+', '/' and '='. The length, or -1: another escape, or too
 * long.
 */
static long unescape(char *out, size_t size, struct strv query)
{
	size_t n = 0;

	for (size_t i = 0; i < query.n; i++) {
		char c = query.p[i];

		if (c == '%') {
			if (query.n - i < 3 ||
			    text_percent_decode(&c, 1, (struct strv){ query.p + i, 3 }) != 1 ||
			    (c != '+' && c != '/' && c != '='))
				return -1;
			i += 2;
		}
		if (n == size)
			return -1;
		out[n++] = c;
	}
	return (long)n;
}

static enum eas_query_result read_base64(struct eas_query *q, struct strv query)
{
	char text[(BASE64_MAX + 2) / 3 * 4];
	unsigned char bytes[BASE64_MAX];
	long n;

	q->base64 = true;
	if (query.n > 3 * sizeof(text))
		return EAS_QUERY_TOO_LONG;
	n = unescape(text, sizeof(text), query);
	if (n < 0)
		return EAS_QUERY_BAD;
	n = text_base64_decode(bytes, sizeof(bytes), (struct strv){ text, (size_t)n });
	if (n < 0)
		return EAS_QUERY_BAD;
	return read_fixed(q, (struct strv){ (const char *)bytes, (size_t)n });
}

enum eas_query_result eas_query_read(struct eas_query *out, struct strv query)
{
	struct eas_query q = { 0 };
	struct strv rest = query, first = text_split(&rest, '&');
	struct strv name = name_of(first);
	enum eas_query_result r;

	if (query.n == 0)
		return EAS_QUERY_EMPTY;
	if (name.p != NULL && parameter_of(name) != PARAMETER_OTHER)
		r = read_plain(&q, query);
	else
		r = read_base64(&q, query);
	if (r == EAS_QUERY_OK)
		*out = q;
	return r;
}

void eas_user_split(struct strv user, struct strv *name, struct strv *domain)
{
	struct strv rest = user, front = text_split(&rest, '\\');
	size_t at;

	*domain = (struct strv){ NULL, 0 };
	*name = user;
	if (rest.p != NULL) {
		*domain = front;
		*name = rest;
		if (front.n > 0)
			return;
	}
	/* the last '@': a UPN has one, and whoever writes two gets a name that nobody has */
	for (at = name->n; at > 0; at--) {
		if (name->p[at - 1] == '@') {
			*domain = (struct strv){ name->p + at, name->n - at };
			name->n = at - 1;
			return;
		}
	}
}
