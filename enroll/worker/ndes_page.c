/*
 * ndes_page: the text of the page, on one line, with the spaces that readers of it count on. Pure.
 */
#include <stdio.h>

#include "enroll/worker/ndes.h"

#define PAGE_MAX 8192

/* 16 bytes as four groups of eight upper-case digits: readers tell the challenge from the thumbprint by its 16. */
static void groups(char out[40], const uint8_t *bytes)
{
	size_t n = 0;

	for (size_t i = 0; i < 16; i++)
		n += (size_t)snprintf(out + n, 40 - n, "%s%02X", i > 0 && i % 4 == 0 ? " " : "", bytes[i]);
}

static int body(struct buffer *out, enum ndes_page what, const uint8_t *thumbprint, const char *challenge, unsigned minutes)
{
	char hex[40];

	if (what == NDES_CACHE_FULL)
		return buffer_printf(out, "<P> The password cache is full. </P><P> By default, the cache can only hold a limited number of passwords. "
		    "Wait until one of them has expired, or use one. </P>");
	if (what == NDES_NO_PERMISSION)
		return buffer_printf(out, "<P> You do not have sufficient permission to enroll with SCEP.  Please contact your system administrator. </P>");
	groups(hex, thumbprint);
	return buffer_printf(out, "<P> To complete certificate enrollment for your network device you will need the following information: "
	    "<P> The thumbprint (hash value) for the CA certificate is: <B> %s </B> <P> The enrollment challenge password is: <B> %s </B> "
	    "<P> This password can be used only once and will expire within %u minutes. "
	    "<P> Each enrollment requires a new challenge password. You can refresh this web page to obtain a new challenge password. </P> ",
	    hex, challenge, minutes);
}

static int page(struct buffer *out, enum ndes_page what, const uint8_t *thumbprint, const char *challenge, unsigned minutes)
{
	if (buffer_printf(out, "<HTML><Head><Meta HTTP-Equiv=\"Content-Type\" Content=\"text/html; charset=UTF-8\">"
	    "<Title>Network Device Enrollment Service</Title></Head><Body BgColor=#FFFFFF><Font ID=locPageFont Face=\"Arial\">"
	    "<Table Border=0 CellSpacing=0 CellPadding=4 Width=100%% BgColor=#008080><TR><TD>"
	    "<Font ID=locPageTitleFont Face=\"Arial\" Size=-1 Color=#FFFFFF><LocID ID=locMSCertSrv>Network Device Enrollment Service</LocID></Font>"
	    "</TD></TR></Table><P ID=locPageTitle> Network Device Enrollment Service allows you to obtain certificates for routers or other network "
	    "devices using the Simple Certificate Enrollment Protocol (SCEP). </P>") < 0)
		return -1;
	if (body(out, what, thumbprint, challenge, minutes) < 0)
		return -1;
	return buffer_printf(out, "<P ID=locPageDesc> For more information see  <A HREF=http://go.microsoft.com/fwlink/?LinkId=67852>"
	    "Using Network Device Enrollment Service </A>. </P></Font></Body></HTML>");
}

int ndes_page(struct buffer *out, enum ndes_page what, const uint8_t *thumbprint, const char *challenge, unsigned minutes, bool utf8)
{
	struct buffer text;
	int rc = -1;

	if (utf8)
		return page(out, what, thumbprint, challenge, minutes);
	buffer_init(&text, PAGE_MAX);
	if (page(&text, what, thumbprint, challenge, minutes) < 0 || buffer_add(out, "\xff\xfe", 2) < 0)
		goto out;
	for (size_t i = 0; i < buffer_len(&text); i++) {
		const char wide[2] = { buffer_data(&text)[i], 0 };	/* the page is ASCII */

		if (buffer_add(out, wide, 2) < 0)
			goto out;
	}
	rc = 0;
out:
	buffer_clear(&text);
	return rc;
}
