/*
 * send_mail: SendMail, as ComposeMail body or as bare message/rfc822 ([MS-ASCMD] 2.2.1.17).
 * Every recipient has an account here; nothing leaves the process.
 * Part of the sample mail server, which runs as one process.
 */
#include "commands.h"

#include <stdlib.h>
#include <string.h>

#include <event2/buffer.h>

#include "mime.h"
#include "text.h"

/* Common status codes, [MS-ASCMD] 2.2.2 */
enum {
	SENT = 0,
	SEND_MALFORMED = 103,
	SEND_BAD_MIME = 107,
	SEND_SERVER_ERROR = 110,
	SEND_ALREADY_SENT = 118,
	SEND_NO_RECIPIENT = 119,
	SEND_FAILED = 120,
};

/* Where the mail goes; each account once. */
struct targets {
	struct accounts *accounts;
	struct account *to[MIME_RECIPIENTS_MAX];
	int n;
	bool failed;
};

static void add_target(void *arg, const char *address)
{
	struct targets *t = arg;
	struct account *account = accounts_get(t->accounts, address);

	for (int i = 0; i < t->n; i++)
		if (t->to[i] == account)
			return;
	if (account == NULL || t->n == MIME_RECIPIENTS_MAX)
		t->failed = true;
	else
		t->to[t->n++] = account;
}

/* Delivers to all recipients and wakes them. Returns SENT or a status. */
static uint32_t deliver(struct call *c, const char *mail, size_t n, bool save)
{
	struct targets t = { .accounts = c->env->accounts };
	uint32_t rc = SENT;
	char *bare;
	size_t bare_n;

	if (!mime_is_mail(mail, n))
		return SEND_BAD_MIME;
	if (mime_recipients(mail, n, add_target, &t) < 0)
		return SEND_BAD_MIME;
	if (t.failed)
		return SEND_FAILED;
	if (t.n == 0)
		return SEND_NO_RECIPIENT;
	bare = mime_without_bcc(mail, n, &bare_n);
	if (bare == NULL)
		return SEND_SERVER_ERROR;
	for (int i = 0; i < t.n; i++) {
		if (!account_deliver(t.to[i], FOLDER_INBOX, bare, bare_n))
			rc = SEND_FAILED;
		calls_wake(t.to[i]);
	}
	free(bare);
	if (save && account_deliver(c->account, FOLDER_SENT, mail, n))
		calls_wake(c->account);
	return rc;
}

/* The MIME element: opaque, so base64 in the XML; a text that is not base64 is the mail itself. */
static uint32_t send_mime(struct call *c, const xmlNode *mime, bool save)
{
	xmlChar *text = xmlNodeGetContent(mime);
	size_t n = text == NULL ? 0 : strlen((const char *)text);
	unsigned char *mail = malloc(n + 1);
	uint32_t rc = SEND_SERVER_ERROR;
	ssize_t mail_n;

	if (text == NULL || mail == NULL)
		goto out;
	mail_n = text_base64((const char *)text, n, true, mail);
	if (mail_n >= 0)
		rc = deliver(c, (const char *)mail, (size_t)mail_n, save);
	else
		rc = deliver(c, (const char *)text, n, save);
out:
	free(mail);
	xmlFree(text);
	return rc;
}

/* 14.0 and later: an empty answer means sent. */
static int send_compose(struct call *c)
{
	const xmlNode *root = command_root(c, "SendMail"), *mime = xml_child(root, "MIME");
	char client_id[CLIENT_ID_MAX + 1];
	uint32_t rc;

	if (mime == NULL || !xml_text(root, "ClientId", client_id, sizeof(client_id)))
		rc = SEND_MALFORMED;
	else if (strcmp(client_id, c->device->client_id) == 0)
		rc = SEND_ALREADY_SENT;
	else
		rc = send_mime(c, mime, xml_child(root, "SaveInSentItems") != NULL);
	if (rc != SENT)
		return command_status(c, "SendMail", "ComposeMail:", rc);
	strcpy(c->device->client_id, client_id);
	return 200;
}

/* Before 14.0 the body is the mail, and there is only HTTP to complain with. */
static int send_bare(struct call *c)
{
	struct evbuffer *body = evhttp_request_get_input_buffer(c->http);
	size_t n = evbuffer_get_length(body);
	const unsigned char *mail = evbuffer_pullup(body, -1);

	if (c->doc != NULL || n == 0 || mail == NULL)
		return 400;
	switch (deliver(c, (const char *)mail, n, c->query.save_in_sent)) {
	case SENT:
		return 200;
	case SEND_BAD_MIME:
	case SEND_NO_RECIPIENT:
		return 400;
	default:
		return 500;
	}
}

int command_send_mail(struct call *c)
{
	return c->query.version >= 140 ? send_compose(c) : send_bare(c);
}
