/*
 * item: one mail as ApplicationData of a Sync answer ([MS-ASEMAIL], [MS-ASAIRS]).
 * Writes into the answer of the caller; changes nothing.
 * Part of the sample mail server, which runs as one process.
 */
#ifndef MAIL_ITEM_H
#define MAIL_ITEM_H

#include "mailbox.h"
#include "xml.h"

/* The ServerId of a message: "<folder>:<uid>". */
#define ITEM_ID_MAX 16
void item_id(char out[ITEM_ID_MAX + 1], enum folder_id folder, uint32_t uid);

/* The reverse. False: not an id of ours. */
bool item_id_parse(const char *id, enum folder_id *folder, uint32_t *uid);

struct item_want {
	unsigned version;       /* of the protocol: bodies look different before 12.0 */
	uint32_t body_type;     /* 1 text, 4 MIME */
	uint32_t truncation;    /* bytes */
};

/* Writes <ApplicationData> with everything of the message that the device shows. */
void item_write(struct xml_out *o, const struct message *m, const struct item_want *want);

#endif
