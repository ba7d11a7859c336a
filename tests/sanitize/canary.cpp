// Two mistakes that the sanitizers must report. CMakeLists.txt builds this file with the options of the operators, and
// run.sh makes both mistakes before it trusts a run without a report.

#include <cstdlib>

extern "C" {

// Reads one of 8 bytes. The pointer is volatile, so that the compiler does not know how many there are.
__attribute__((visibility("default"))) int read_heap(int index) {
  char* volatile bytes = static_cast<char*>(std::calloc(8, 1));
  const int value = bytes[index];
  std::free(bytes);
  return value;
}

__attribute__((visibility("default"))) int add_one(int value) { return value + 1; }

}
