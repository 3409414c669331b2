#include "model/functions/node_def.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace h5serve::model {
namespace {

using ::testing::ElementsAre;

// {name: "c", op: "Conv2D", input: ["a", "b"], attr: {strides: [1, 2], padding:
// "SAME", T: DT_FLOAT, e: 0.5}} as TensorFlow serialises it.
std::string SerializedNode() {
  const auto bytes = [](int field, const std::string& text) {
    return std::string(1, static_cast<char>(field << 3 | 2)) + static_cast<char>(text.size()) +
           text;
  };
  const auto attribute = [&](const std::string& name, const std::string& value) {
    return bytes(5, bytes(1, name) + bytes(2, value));
  };
  return bytes(1, "c") + bytes(2, "Conv2D") + bytes(3, "a") + bytes(3, "b") +
         attribute("strides", bytes(1, bytes(3, std::string("\x01\x02", 2)))) +
         attribute("padding", bytes(2, "SAME")) + attribute("T", std::string("\x30\x01", 2)) +
         attribute("e", std::string("\x25\x00\x00\x00\x3f", 5)) +
         attribute("n", std::string("\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11));
}

std::string Latin1AsUtf8(const std::string& bytes) {
  std::string text;
  for (char c : bytes) {
    const uint8_t byte = static_cast<uint8_t>(c);
    if (byte < 0x80) {
      text.push_back(c);
    } else {
      text.push_back(static_cast<char>(0xc0 | byte >> 6));
      text.push_back(static_cast<char>(0x80 | (byte & 0x3f)));
    }
  }
  return text;
}

TEST(NodeDefTest, ReadsTheSerializedMessage) {
  const auto node = ParseNodeDef(ConfigValue(Latin1AsUtf8(SerializedNode())));

  ASSERT_TRUE(node.ok()) << node.status();
  EXPECT_EQ(node->op, "Conv2D");
  EXPECT_THAT(node->inputs, ElementsAre("a", "b"));
  EXPECT_EQ(node->attributes.at("strides"), ConfigValue(ConfigValue::List{1, 2}));
  EXPECT_EQ(node->attributes.at("padding"), ConfigValue("SAME"));
  EXPECT_EQ(node->attributes.at("T"), ConfigValue("DT_FLOAT"));
  EXPECT_EQ(node->attributes.at("e"), ConfigValue(0.5));
  EXPECT_EQ(node->attributes.at("n"), ConfigValue(-1));
}

TEST(NodeDefTest, ReadsJson) {
  const auto value = ParseJson(
      R"({"name": "m", "op": "Mean", "input": ["x", "axis"], "attr": {"keep_dims": {"b": true}, "i": {"i": "7"},
          "ksize": {"list": {"i": ["1", "2"]}}, "padding": {"s": "U0FNRQ=="}}})");

  const auto node = ParseNodeDef(*value);

  ASSERT_TRUE(node.ok()) << node.status();
  EXPECT_EQ(node->op, "Mean");
  EXPECT_EQ(node->attributes.at("keep_dims"), ConfigValue(true));
  EXPECT_EQ(node->attributes.at("i"), ConfigValue(7));
  EXPECT_EQ(node->attributes.at("ksize"), ConfigValue(ConfigValue::List{1, 2}));
  EXPECT_EQ(node->attributes.at("padding"), ConfigValue("SAME"));
}

TEST(NodeDefTest, RefusesEveryCutOfAMessageWithoutAnOp) {
  const std::string bytes = SerializedNode();
  for (size_t size = 0; size < bytes.size(); ++size) {
    const auto node = ParseNodeDef(ConfigValue(Latin1AsUtf8(bytes.substr(0, size))));
    if (node.ok()) {
      EXPECT_FALSE(node->op.empty());
    }
  }
  EXPECT_FALSE(ParseNodeDef(ConfigValue(7)).ok());
  EXPECT_FALSE(ParseNodeDef(ConfigValue("no message at all")).ok());
}

}  // namespace
}  // namespace h5serve::model
