#include "base/checksum.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sys/random.h>

#include <bit>
#include <cerrno>
#include <cstdlib>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/bytes.h"
#include "base/piecewise_checksum.h"

namespace tokvault {
namespace {

// One context a thread and one fetch a process: OpenSSL 3's implicit fetch doubles the cost of a
// small hash.
class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new()) {}
  ~Sha256() { EVP_MD_CTX_free(context_); }
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  Digest hash(const void* data, std::size_t size) {
    static EVP_MD* const kind = EVP_MD_fetch(nullptr, "SHA256", nullptr);
    Digest digest{};
    unsigned written = 0;
    if (EVP_DigestInit_ex(context_, kind, nullptr) != 1 ||
        EVP_DigestUpdate(context_, data, size) != 1 ||
        EVP_DigestFinal_ex(context_, digest.data(), &written) != 1) {
      std::abort();  // no memory for a hash context: nothing sensible is left to do
    }
    return digest;
  }

 private:
  EVP_MD_CTX* context_;
};

Sha256& thread_sha256() {
  thread_local Sha256 instance;
  return instance;
}

}  // namespace

std::uint64_t checksum64(ByteView bytes, std::uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

PiecewiseChecksum::PiecewiseChecksum(std::uint64_t seed)
    : state_(XXH3_createState(),
             [](void* state) { XXH3_freeState(static_cast<XXH3_state_t*>(state)); }) {
  if (state_ == nullptr) std::abort();  // as for a hash context
  (void)XXH3_64bits_reset_withSeed(static_cast<XXH3_state_t*>(state_.get()), seed);
}

void PiecewiseChecksum::add(ByteView piece) {
  (void)XXH3_64bits_update(static_cast<XXH3_state_t*>(state_.get()), piece.data(), piece.size());
}

std::uint64_t PiecewiseChecksum::value() const {
  return XXH3_64bits_digest(static_cast<const XXH3_state_t*>(state_.get()));
}

Digest sha256(ByteView bytes) { return thread_sha256().hash(bytes.data(), bytes.size()); }

Digest sha256_tokens(TokenView tokens) {
  if constexpr (std::endian::native == std::endian::little) {
    return thread_sha256().hash(tokens.data(), tokens.size_bytes());
  }
  Buffer bytes;
  bytes.reserve(tokens.size() * 4);
  for (Token t : tokens) append_le(bytes, t);
  return sha256(bytes);
}

Digest hmac_sha256(ByteView key, ByteView message) {
  Digest digest{};
  unsigned written = 0;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
       reinterpret_cast<const unsigned char*>(message.data()), message.size(), digest.data(),
       &written);
  return digest;
}

Buffer random_bytes(std::size_t count) {
  Buffer out(count, '\0');
  std::size_t done = 0;
  while (done < count) {
    const ssize_t n = getrandom(out.data() + done, count - done, 0);
    if (n > 0) {
      done += static_cast<std::size_t>(n);
    } else if (errno != EINTR) {
      std::abort();  // a kernel without it, or a sandbox: what is not random would be taken for it
    }
  }
  return out;
}

}  // namespace tokvault
