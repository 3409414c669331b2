// Text of unknown encoding made safe to show.
#pragma once

#include <string>
#include <string_view>

namespace h5serve::model {

bool IsValidUtf8(std::string_view text);

// The text itself when it is UTF-8, else read as Latin-1, in which any bytes are text.
std::string ToUtf8(std::string_view text);

// For messages: UTF-8, control characters as \x0a, cut with "…" beyond `max_bytes`.
std::string Printable(std::string_view text, size_t max_bytes = 200);

}  // namespace h5serve::model
