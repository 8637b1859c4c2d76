/*
 * fuzz/fuzz_lab.c - names of the simulator: a stage, then a local part or the front of a domain.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "fuzz/fuzz.h"
#include "lab/lab-private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum cat_stage stages[] = { CAT_STAGE_rcpt, CAT_STAGE_mail, CAT_STAGE_helo,
		CAT_STAGE_connect };
	const struct catalogue *cat = catalogue_builtin();
	struct span s = span_of(data, size);
	enum cat_stage stage = stages[fuzz_octet(&s) % 4];
	struct lab_verdict v;

	if (!lab_verdict_parse(cat, s, stage, &v))
		return 0;
	FUZZ_CHECK(v.kind != LAB_REPLY || catalogue_reply(cat, v.reply) != NULL);
	FUZZ_CHECK(v.kind != LAB_REFUSE || stage == CAT_STAGE_connect);
	FUZZ_CHECK(v.kind != LAB_GREYLIST || v.seconds <= 86400);
	FUZZ_CHECK(v.when == stage ||
	    (stage == CAT_STAGE_rcpt && (v.when == CAT_STAGE_data || v.when == CAT_STAGE_message)));
	return 0;
}
