/*
 * eas_query: what the query of an ActiveSync request says, plain or base64.
 * Pure: reads the query only, decides nothing, allocates nothing ([MS-ASHTTP] 2.2.1.1.1).
 * Part of the sample mail server, which runs as one process.
 */
#ifndef MAIL_EAS_QUERY_H
#define MAIL_EAS_QUERY_H

#include <stdbool.h>
#include <stdint.h>

/* The values are the command codes of the base64 query ([MS-ASHTTP] 2.2.1.1.1.2.1). */
enum eas_command {
	EAS_SYNC = 0,
	EAS_SEND_MAIL = 1,
	EAS_FOLDER_SYNC = 9,
	EAS_MOVE_ITEMS = 13,
	EAS_GET_ITEM_ESTIMATE = 14,
	EAS_SEARCH = 16,
	EAS_SETTINGS = 17,
	EAS_PING = 18,
	EAS_PROVISION = 20,
	EAS_COMMANDS = 24,
};

#define EAS_TEXT_MAX 64         /* bytes of a device id or type, without the NUL */

struct eas_query {
	enum eas_command command;
	unsigned version;       /* 25, 120, 121, 140, 141, 160, 161; 0: the query does not say */
	bool has_policy_key;
	uint32_t policy_key;
	bool save_in_sent;
	char device_id[EAS_TEXT_MAX + 1];       /* raw bytes of a base64 query become hex */
	char device_type[EAS_TEXT_MAX + 1];
};

/*
 * Reads `query`, the bytes after the `?`. Returns 0, or -1 for a query that is malformed,
 * names no known command or no device, or repeats a parameter; *out is then untouched.
 */
int eas_query_parse(const char *query, struct eas_query *out);

/* "Sync" for EAS_SYNC; NULL for a code that no command has. */
const char *eas_command_name(enum eas_command command);

/* "14.1" -> 141. 0 for a version that does not exist. */
unsigned eas_version_parse(const char *text);

#endif
