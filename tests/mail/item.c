/*
 * item: header fields, flags and body of one mail.
 * A field that cannot be read is left out; out of memory marks the answer failed.
 * Part of the sample mail server, which runs as one process.
 */
#include "item.h"

#include <stdlib.h>
#include <string.h>

#include "mime.h"
#include "text.h"

#define EMAIL "Email:"
#define BASE "AirSyncBase:"

void item_id(char out[ITEM_ID_MAX + 1], enum folder_id folder, uint32_t uid)
{
	snprintf(out, ITEM_ID_MAX + 1, "%u:%u", (unsigned)folder, uid);
}

bool item_id_parse(const char *id, enum folder_id *folder, uint32_t *uid)
{
	char collection[2] = { id[0], '\0' };

	if (id[0] == '\0' || id[1] != ':' || !text_number(id + 2, UINT32_MAX, uid))
		return false;
	*folder = folder_parse(collection);
	return *folder != FOLDER_NONE;
}

static void header(struct xml_out *o, const struct message *m, const char *field, const char *tag)
{
	char *text = mime_header(m->data, m->n, field);

	if (text == NULL)
		o->failed = true;
	else if (*text != '\0')
		xml_leaf(o, tag, EMAIL, text);
	free(text);
}

/* 2.5 has the body in the Email namespace. */
static void body_before_12(struct xml_out *o, const char *text, size_t n, size_t sent)
{
	xml_leaf_number(o, "BodyTruncated", EMAIL, sent < n);
	xml_leaf_number(o, "BodySize", EMAIL, (uint32_t)n);
	xml_leaf(o, "Body", EMAIL, text);
}

static void body_since_12(struct xml_out *o, const char *text, size_t n, size_t sent,
    uint32_t type)
{
	xml_open(o, "Body", BASE);
	xml_leaf_number(o, "Type", NULL, type);
	xml_leaf_number(o, "EstimatedDataSize", NULL, (uint32_t)n);
	if (sent < n)
		xml_leaf_number(o, "Truncated", NULL, 1);
	xml_leaf(o, "Data", NULL, text);
	xml_close(o);
}

static void body(struct xml_out *o, const struct message *m, const struct item_want *want)
{
	bool whole = want->body_type == 4 && want->version >= 120;
	char *text = whole ? text_clean(m->data, m->n) : mime_text(m->data, m->n);
	size_t n, sent;

	if (text == NULL) {
		o->failed = true;
		return;
	}
	n = strlen(text);
	sent = text_utf8_cut(text, n, want->truncation);
	text[sent] = '\0';
	if (want->version < 120)
		body_before_12(o, text, n, sent);
	else
		body_since_12(o, text, n, sent, whole ? 4 : 1);
	free(text);
}

void item_write(struct xml_out *o, const struct message *m, const struct item_want *want)
{
	char date[32];
	struct tm tm;

	gmtime_r(&m->received, &tm);
	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S.000Z", &tm);
	xml_open(o, "ApplicationData", NULL);
	header(o, m, "To", "To");
	header(o, m, "Cc", "Cc");
	header(o, m, "From", "From");
	header(o, m, "Subject", "Subject");
	xml_leaf(o, "DateReceived", EMAIL, date);
	header(o, m, "To", "DisplayTo");
	header(o, m, "Subject", "ThreadTopic");
	xml_leaf_number(o, "Importance", EMAIL, 1);
	xml_leaf_number(o, "Read", EMAIL, m->read);
	body(o, m, want);
	xml_leaf(o, "MessageClass", EMAIL, "IPM.Note");
	xml_leaf_number(o, "InternetCPID", EMAIL, 65001);
	if (want->version >= 120) {
		xml_leaf(o, "ContentClass", EMAIL, "urn:content-classes:message");
		xml_leaf_number(o, "NativeBodyType", BASE, 1);
	}
	xml_close(o);
}
