// Which keys the config of a layer class may hold.
#pragma once

#include <string_view>
#include <vector>

namespace h5serve::model {

// True when some Keras version writes `key` for the (canonical) class, or when
// the class has no row of its own.
bool IsKnownConfigKey(std::string_view class_name, std::string_view key);

// True when the class has a row that names the key.
bool IsListedConfigKey(std::string_view class_name, std::string_view key);

// The keys of the class's row, sorted; none without a row.
std::vector<std::string_view> ListedConfigKeys(std::string_view class_name);

// The known key that starts most like `key`, or "".
std::string_view NearestConfigKey(std::string_view class_name, std::string_view key);

}  // namespace h5serve::model
