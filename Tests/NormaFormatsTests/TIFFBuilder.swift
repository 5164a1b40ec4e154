/// Builds the bytes of TIFF files by hand: header, then for each page directory, long values and image data.
struct TIFFBuilder {
  /// A tag with numbers of 1, 2, 4 or 8 bytes; the type follows from the size.
  struct Tag {
    var number: Int
    var size: Int
    var values: [UInt64]
    var isText = false
  }

  struct Page {
    var tags: [Tag]
    var blocks: [[UInt8]]
    var isTiled = false
  }

  var isBigEndian = false
  var isBig = false
  var pages: [Page] = []
  /// Follows the last page.
  var trailer: [UInt8] = []

  func bytes(_ value: UInt64, _ size: Int) -> [UInt8] {
    let little = (0..<size).map { UInt8(truncatingIfNeeded: value >> (8 * UInt64($0))) }
    return isBigEndian ? little.reversed() : little
  }

  func samples<T: FixedWidthInteger>(_ values: [T]) -> [UInt8] {
    values.flatMap { bytes(UInt64(truncatingIfNeeded: $0), T.bitWidth / 8) }
  }

  /// Tags for plain images; `more` replaces or adds.
  static func tags(
    width: Int, height: Int, bits: Int, samples: Int = 1, photometric: Int = 1, rowsPerStrip: Int? = nil,
    more: [Tag] = []
  ) -> [Tag] {
    var tags = [
      Tag(number: 256, size: 4, values: [UInt64(width)]),
      Tag(number: 257, size: 4, values: [UInt64(height)]),
      Tag(number: 258, size: 2, values: Array(repeating: UInt64(bits), count: samples)),
      Tag(number: 259, size: 2, values: [1]),
      Tag(number: 262, size: 2, values: [UInt64(photometric)]),
      Tag(number: 277, size: 2, values: [UInt64(samples)]),
      Tag(number: 278, size: 4, values: [UInt64(rowsPerStrip ?? height)]),
    ]
    tags.removeAll { tag in more.contains { $0.number == tag.number } }
    return tags + more
  }

  static func text(_ number: Int, _ text: String) -> Tag {
    Tag(number: number, size: 1, values: text.utf8.map { UInt64($0) } + [0], isText: true)
  }

  func build(next lastPointer: UInt64 = 0) -> [UInt8] {
    let word = isBig ? 8 : 4
    var file: [UInt8] = isBigEndian ? [0x4D, 0x4D] : [0x49, 0x49]
    file += bytes(isBig ? 43 : 42, 2)
    if isBig { file += bytes(8, 2) + bytes(0, 2) }
    file += bytes(UInt64(file.count + word), word)
    for (index, page) in pages.enumerated() {
      var tags = page.tags
      let offsets = Array(repeating: UInt64(0), count: page.blocks.count)
      tags.append(Tag(number: page.isTiled ? 324 : 273, size: 4, values: offsets))
      let counts = page.blocks.map { UInt64($0.count) }
      tags.append(Tag(number: page.isTiled ? 325 : 279, size: 4, values: counts))
      tags.sort { $0.number < $1.number }
      let tableBytes = (isBig ? 8 : 2) + tags.count * (isBig ? 20 : 12) + word
      // The size of everything before the image data does not depend on the offsets.
      var data = file.count + tableBytes
      for tag in tags where tag.size * tag.values.count > word { data += tag.size * tag.values.count }
      for (place, tag) in tags.enumerated() where tag.number == 273 || tag.number == 324 {
        var offset = data
        tags[place].values = page.blocks.map { block in
          defer { offset += block.count }
          return UInt64(offset)
        }
      }
      let end = data + page.blocks.joined().count
      var long: [UInt8] = []
      let start = file.count + tableBytes
      file += bytes(UInt64(tags.count), isBig ? 8 : 2)
      for tag in tags {
        let type = tag.isText ? 2 : [1: 1, 2: 3, 4: 4, 8: 16][tag.size]!
        file += bytes(UInt64(tag.number), 2) + bytes(UInt64(type), 2)
        file += bytes(UInt64(tag.values.count), word)
        let raw = tag.values.flatMap { bytes($0, tag.size) }
        if raw.count <= word {
          file += raw + Array(repeating: 0, count: word - raw.count)
        } else {
          file += bytes(UInt64(start + long.count), word)
          long += raw
        }
      }
      file += bytes(index == pages.count - 1 ? lastPointer : UInt64(end), word)
      file += long + page.blocks.joined()
    }
    return file + trailer
  }

  /// One page of one strip.
  static func file(
    _ tags: [Tag], _ blocks: [[UInt8]], isTiled: Bool = false, bigEndian: Bool = false, big: Bool = false
  ) -> [UInt8] {
    TIFFBuilder(
      isBigEndian: bigEndian, isBig: big, pages: [Page(tags: tags, blocks: blocks, isTiled: isTiled)]
    ).build()
  }
}
