/*
 * eas_query: what an ActiveSync request asks for, from its query: plain or base64 (MS-ASHTTP 2.2.1.1.1). Pure.
 */
#ifndef EASGATE_EAS_QUERY_H
#define EASGATE_EAS_QUERY_H

#include "common/base.h"

/* Codes of the base64 form are mapped to these; the names are the protocol's. 0 is no command. */
enum eas_command {
	EAS_NONE = 0, EAS_SYNC, EAS_SENDMAIL, EAS_SMARTFORWARD, EAS_SMARTREPLY, EAS_GETATTACHMENT, EAS_GETHIERARCHY,
	EAS_CREATECOLLECTION, EAS_DELETECOLLECTION, EAS_MOVECOLLECTION, EAS_FOLDERSYNC, EAS_FOLDERCREATE,
	EAS_FOLDERDELETE, EAS_FOLDERUPDATE, EAS_MOVEITEMS, EAS_GETITEMESTIMATE, EAS_MEETINGRESPONSE, EAS_SEARCH,
	EAS_SETTINGS, EAS_PING, EAS_ITEMOPERATIONS, EAS_PROVISION, EAS_RESOLVERECIPIENTS, EAS_VALIDATECERT, EAS_FIND,
	EAS_OPTIONS,		/* Outlook's OPTIONS request names itself as Cmd=Options */
	EAS_COMMANDS
};
/* "Sync", "Ping", ...; "-" for EAS_NONE. eas_command_names is NULL-terminated, indexed by the enum (for metrics). */
const char *eas_command_name(enum eas_command command);
extern const char *const eas_command_names[];

enum eas_query_result {
	EAS_QUERY_OK = 0,
	EAS_QUERY_EMPTY,		/* no query at all: OPTIONS of an iPhone */
	EAS_QUERY_BAD = -200,		/* malformed: wrong lengths, bad escape, bad base64 */
	EAS_QUERY_DOUBLE,		/* a parameter that decides something stands twice */
	EAS_QUERY_UNKNOWN_COMMAND,
	EAS_QUERY_BAD_DEVICE,		/* DeviceId missing, empty, > 64 bytes or with bytes beyond [A-Za-z0-9._-] in the plain form */
	EAS_QUERY_TOO_LONG,
};
const char *eas_query_result_text(enum eas_query_result result);

struct eas_query {
	enum eas_command command;
	bool base64;
	unsigned version;		/* 121, 140, 141, 160, 161 in the base64 form; 0: see MS-ASProtocolVersion */
	char user[320];			/* percent-decoded; "" when absent (normal in the base64 form; tag 8 fills it) */
	char device_id[80];		/* as text; a raw 16-byte id of the base64 form as 32 upper-case hex digits */
	char device_type[64];
	bool has_policy_key;
	uint32_t policy_key;
};

/*
 * `query` is the target behind '?', as sent. Names compare without case; order is free; unknown parameters pass.
 * A query whose form is not plainly one of the two (no '=' before the first '&' with a known name, not base64) is EAS_QUERY_BAD.
 * Standard base64 with padding, percent-escapes for + / = allowed; the URL-safe alphabet and missing padding are refused.
 * Bytes that follow but are no parameter, lengths that run over the end, a policy key length other than 0 or 4: EAS_QUERY_BAD.
 * A parameter's name may not be escaped, and none of ours may stand behind a ';' (some servers split there).
 * A plain query without Cmd is EAS_QUERY_OK with EAS_NONE: OPTIONS of some devices; nothing else may pass with it.
 * In the base64 form a 16-byte id of bytes that a plain one may have is text, any other 16 bytes are a GUID.
 * *out is written only for EAS_QUERY_OK.
 */
enum eas_query_result eas_query_read(struct eas_query *out, struct strv query);

/*
 * "DOMAIN\user", "user@domain", "user" → the part that names the user, and the domain (either may be empty). Borrows.
 * "DOMAIN\user@x" names the user "user@x"; without a domain ("\user@x") it is read as "user@x" alone would be.
 */
void eas_user_split(struct strv user, struct strv *name, struct strv *domain);

#endif
