// Forced into every source of Caffe (compiler option -include): a failed CHECK or LOG(FATAL) throws std::runtime_error,
// which Boost.Python hands to Python as RuntimeError, where glog would end the process.
#pragma once
#include <glog/logging.h>

#include <cstring>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>

namespace caffe_check {

// Takes the place of google::LogMessageFatal: collects the message and throws it at the end of the statement.
class Fatal {
 public:
  Fatal(const char* file, int line) {
    const char* base = std::strrchr(file, '/');
    text_ << (base ? base + 1 : file) << ':' << line << "] ";
  }
  Fatal(const char* file, int line, const google::CheckOpString& what)
      : Fatal(file, line) {
    // glog never frees this string, since it never gets past a failed CHECK
    std::unique_ptr<std::string> owned(what.str_);
    text_ << "Check failed: " << *owned << ' ';
  }
  [[noreturn]] ~Fatal() noexcept(false) {
    throw std::runtime_error(text_.str());
  }
  std::ostream& stream() { return text_; }

 private:
  std::ostringstream text_;
};

}  // namespace caffe_check

#undef COMPACT_GOOGLE_LOG_FATAL
#define COMPACT_GOOGLE_LOG_FATAL caffe_check::Fatal(__FILE__, __LINE__)
#undef CHECK_OP
#define CHECK_OP(name, op, val1, val2) \
  CHECK_OP_LOG(name, op, val1, val2, caffe_check::Fatal)
