import Glibc
import Jail

var words: [RawArgument] = []
for index in 0..<Int(CommandLine.argc) {
  guard let word = CommandLine.unsafeArgv[index] else { break }
  words.append(RawArgument(bytes: Array(UnsafeRawBufferPointer(start: word, count: strlen(word)))))
}
exit(runMinijail(words))
