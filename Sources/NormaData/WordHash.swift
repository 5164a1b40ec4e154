/// 64 bits of hash over words (FNV-1a), to tell data from other data.
package struct WordHash {
  package init() {}

  private var hash: UInt64 = 0xcbf2_9ce4_8422_2325

  /// In hexadecimal digits.
  package var text: String { String(hash, radix: 16) }

  @inline(__always)
  mutating func take(_ word: UInt32) { hash = (hash ^ UInt64(word)) &* 0x100_0000_01b3 }

  package mutating func take(_ words: some Sequence<UInt32>) {
    for word in words { take(word) }
  }

  mutating func take(_ numbers: [Int]) { take(numbers.lazy.map { UInt32(truncatingIfNeeded: $0) }) }

  /// Bytes as words of four.
  mutating func take(bytes: UnsafeBufferPointer<UInt8>) {
    var place = 0
    while place < bytes.count {
      var word: UInt32 = 0
      for index in place..<min(place + 4, bytes.count) { word = word << 8 | UInt32(bytes[index]) }
      take(word)
      place += 4
    }
  }
}
