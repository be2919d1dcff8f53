import CDaemonStoreLinux
import Glibc
import Jail

linux_occupy_standard_descriptors()
var words: [RawArgument] = []
for index in 0..<Int(linux_argument_count()) {
  guard let word = linux_arguments()[index] else { break }
  words.append(RawArgument(bytes: Array(UnsafeRawBufferPointer(start: word, count: strlen(word)))))
}
exit(runMinijail(words))
