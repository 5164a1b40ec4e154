import NormaData

/// Makes broken files out of good ones; the seed and a number determine each.
struct Mutator {
  private let target: FuzzTarget
  private let seeds: [[UInt8]]
  private let source: RandomSource
  /// More is cut off.
  private let longest = 1 << 20

  init(_ target: FuzzTarget, seeds: [[UInt8]], seed: UInt64) {
    self.target = target
    self.seeds = seeds
    source = RandomSource(seed: seed).derive(stream: target.name.utf8.reduce(0) { $0 &* 31 &+ UInt64($1) })
  }

  /// The broken file of this number.
  func input(_ number: Int) -> [UInt8] {
    var random = source.derive(stream: UInt64(number))
    var bytes = seeds[random.integer(below: seeds.count)]
    repeat {
      if target.isText, random.chance(2) { changeText(&bytes, &random) } else { changeBytes(&bytes, &random) }
      if bytes.count > longest { bytes.removeSubrange(longest...) }
    } while random.chance(2)
    if random.chance(2) { target.repair?(&bytes) }
    return bytes
  }

  private func changeBytes(_ bytes: inout [UInt8], _ random: inout RandomSource) {
    guard !bytes.isEmpty else { return bytes = [UInt8(random.integer(below: 256))] }
    let place = random.integer(below: bytes.count)
    switch random.integer(below: 12) {
    case 0, 1: bytes[place] ^= 1 << UInt8(random.integer(below: 8))
    case 2: bytes[place] = [0, 1, 0x7F, 0x80, 0xFF, UInt8(random.integer(below: 256))].pick(&random)
    case 3: changeNumber(&bytes, at: place, size: 2, &random)
    case 4, 5: changeNumber(&bytes, at: place, size: 4, &random)
    case 6: changeNumber(&bytes, at: place, size: 8, &random)
    // Where formats keep lengths and offsets of what follows.
    case 7:
      changeNumber(
        &bytes, at: random.integer(below: min(bytes.count, 32)) & ~1, size: [2, 4, 8].pick(&random), &random)
    case 8: bytes.removeSubrange(bytes.part(&random))
    case 9:
      let part = bytes[bytes.part(&random)]
      bytes.insert(contentsOf: part, at: place)
    case 10:
      let other = seeds[random.integer(below: seeds.count)]
      if random.chance(2) {
        bytes.replaceSubrange(place..., with: other.suffix(from: random.integer(below: other.count)))
      } else {
        bytes.insert(contentsOf: other[other.part(&random)], at: place)
      }
    default: bytes.removeSubrange(place...)
    }
  }

  /// A number of 2, 4 or 8 bytes in either byte order becomes an extreme one, a near one, or one about the file's length.
  private func changeNumber(_ bytes: inout [UInt8], at place: Int, size: Int, _ random: inout RandomSource) {
    guard place + size <= bytes.count else { return }
    let isBig = random.chance(2)
    let old = (0..<size).reduce(UInt64(0)) { $0 << 8 | UInt64(bytes[place + (isBig ? $1 : size - 1 - $1)]) }
    let top = UInt64(1) << UInt64(8 * size - 1)
    let step = UInt64(1 + random.integer(below: 16))
    let new = [
      0, 1, 2, 16, 255, 256, 65_535, 65_536, top - 1, top, ~0, old &+ step, old &- step, old &* 2, old / 2, ~old,
      UInt64(bytes.count), UInt64(bytes.count) &- step, random.next(),
    ].pick(&random)
    for index in 0..<size {
      bytes[place + (isBig ? size - 1 - index : index)] = UInt8(truncatingIfNeeded: new >> UInt64(8 * index))
    }
  }

  private static let words: [[UInt8]] =
    ([
      "0", "-0", "1", "-1", "2", "1.5", "1e400", "-1e-400", "9223372036854775807", "-9223372036854775808",
      "9223372036854775808", "18446744073709551616", "4611686018427387904", "0x10", "0o17", "1_000", "NaN", ".inf",
      "null",
      "~", "true", "no", "\"\"", "''", "\"\\u0000\"", "\"\\ud800\"", "\"\\", "[]", "{}", "[", "]", "{", "}", ",", ":",
      ": ", "- ", "\n", "\n  ", "\t", "\r", " ", "#", "&a ", "*a", "<<: *a", "!!binary ", "!!int ", "!x", "|\n", ">-\n",
      "---\n",
      "...\n", "%YAML 1.2\n", "? ", "@", "`", "../", "/dev/zero", "\u{FEFF}", "\u{301}", "\u{2028}", "\u{1F600}",
    ].map { Array($0.utf8) }) + [[0], [0xFF], [0xC3], [0xED, 0xA0, 0x80]]

  private func changeText(_ bytes: inout [UInt8], _ random: inout RandomSource) {
    guard !bytes.isEmpty else { return bytes = Self.words.pick(&random) }
    let place = random.integer(below: bytes.count)
    let word = bytes.word(at: place)
    switch random.integer(below: 10) {
    case 0, 1, 2: bytes.replaceSubrange(word, with: Self.words.pick(&random))
    case 3: bytes.insert(contentsOf: Self.words.pick(&random), at: place)
    case 4: bytes.removeSubrange(word)
    case 5: bytes.insert(contentsOf: bytes[word], at: place)
    case 6:
      // A word from elsewhere, such as a key twice or a value of another kind.
      let other = bytes[bytes.word(at: random.integer(below: bytes.count))]
      bytes.replaceSubrange(word, with: other)
    case 7:
      // Whole fields or lines.
      let mark = [UInt8(ascii: "\n"), UInt8(ascii: ","), UInt8(ascii: "{")].pick(&random)
      let start = bytes[..<place].lastIndex(of: mark) ?? 0
      let end = bytes[place...].dropFirst().firstIndex(of: mark) ?? bytes.count
      if random.chance(2) {
        bytes.removeSubrange(start..<end)
      } else {
        bytes.insert(contentsOf: bytes[start..<end], at: start)
      }
    case 8:
      // Deep nesting and long words.
      let count = [3, 100, 1000, 100_000].pick(&random)
      let piece = Array(["[", "{", "{\"a\":", "[[", "- ", "  ", "&a [*a, ", "9", "x", "\\"].pick(&random).utf8)
      bytes.insert(contentsOf: (0..<min(count, longest / piece.count)).flatMap { _ in piece }, at: place)
    default: bytes.swapAt(place, random.integer(below: bytes.count))
    }
  }
}

extension RandomSource {
  /// True once in `times` on average.
  fileprivate mutating func chance(_ times: Int) -> Bool { integer(below: times) == 0 }
}

extension Array {
  fileprivate func pick(_ random: inout RandomSource) -> Element { self[random.integer(below: count)] }

  /// A range of the indices; mostly a short one.
  fileprivate func part(_ random: inout RandomSource) -> Range<Int> {
    let start = random.integer(below: count)
    let most = random.chance(4) ? count - start : Swift.min(16, count - start)
    return start..<start + 1 + random.integer(below: most)
  }
}

extension [UInt8] {
  /// The letters, digits and signs of numbers about a place, or the one byte that is there.
  fileprivate func word(at place: Int) -> Range<Int> {
    func isPart(_ byte: UInt8) -> Bool {
      switch byte {
      case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2B, 0x2D, 0x2E, 0x5F: true
      default: false
      }
    }
    guard isPart(self[place]) else { return place..<place + 1 }
    let start = self[..<place].lastIndex { !isPart($0) }.map { $0 + 1 } ?? 0
    return start..<(self[place...].firstIndex { !isPart($0) } ?? count)
  }
}
