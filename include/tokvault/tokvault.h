// The whole public API.
#ifndef TOKVAULT_TOKVAULT_H_
#define TOKVAULT_TOKVAULT_H_

#include "tokvault/backend.h"
#include "tokvault/catalog.h"
#include "tokvault/checkpoint.h"
#include "tokvault/checkpoint_replay.h"
#include "tokvault/conversation.h"
#include "tokvault/dedup.h"
#include "tokvault/delta.h"
#include "tokvault/dictionary.h"
#include "tokvault/directory.h"
#include "tokvault/installed.h"
#include "tokvault/interchange.h"
#include "tokvault/kvc.h"
#include "tokvault/result.h"
#include "tokvault/segments.h"
#include "tokvault/sql.h"
#include "tokvault/substrings.h"
#include "tokvault/tokenizer.h"
#include "tokvault/types.h"
#include "tokvault/vault.h"
#include "tokvault/version.h"

#endif  // TOKVAULT_TOKVAULT_H_
