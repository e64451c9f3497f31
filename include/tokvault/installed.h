// Where an installed tokvault keeps the vocabularies that ship with it.
//
// A shared library knows where it lies, and so where the vocabularies are. A program that is linked
// with the static one does not, wherever its prefix was moved to. But this header knows, as it lies
// in the same prefix: directory.h includes it, and what it says is known before main() begins.
#ifndef TOKVAULT_INSTALLED_H_
#define TOKVAULT_INSTALLED_H_

#include <string_view>

namespace tokvault {

// From now on open_tokenizer() also looks in `folder`, after all others but the one that the
// library was configured with (docs/tokenizers.md): for a program that brings its vocabularies
// along. True; naming a folder again changes nothing.
//
// Threads: may be called from any thread at once.
bool add_tokenizer_folder(std::string_view folder);

// The same with the folder that was installed together with this header, if `header` is its path
// and there is one. Returns whether there is.
bool add_installed_tokenizers(std::string_view header);

inline const bool kInstalledTokenizersAdded = add_installed_tokenizers(__FILE__);

}  // namespace tokvault

#endif  // TOKVAULT_INSTALLED_H_
