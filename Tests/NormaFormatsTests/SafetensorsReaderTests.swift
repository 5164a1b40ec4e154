import NormaFormats
import Testing

@Suite struct SafetensorsReaderTests {
  private func file(_ header: String, data: Int, in folder: Folder, name: String = "w") throws -> String {
    let text = Array(header.utf8)
    let length = (0..<8).map { UInt8(truncatingIfNeeded: text.count >> (8 * $0)) }
    return try folder.write(length + text + (0..<data).map { UInt8(truncatingIfNeeded: $0) }, name)
  }

  @Test func readsWhatTheWriterWrote() throws {
    let folder = try Folder()
    let floats: [Float] = [1, -2.5, .infinity, 0, 3.25, 1e-30]
    try Safetensors.write(
      [
        .init(name: "b", type: .f32, shape: [2, 3]) { floats.withUnsafeBytes(Array.init) },
        .init(name: "a\"\\é", type: .u8, shape: []) { [200] },
        .init(name: "empty", type: .i64, shape: [0, 4]) { [] },
      ], metadata: ["norm": "batch", "": "x"], to: folder("w"))
    let reader = try SafetensorsReader(folder("w"))
    #expect(reader.metadata == ["norm": "batch", "": "x"])
    #expect(Set(reader.entries.map(\.name)) == ["b", "a\"\\é", "empty"])
    let entry = try #require(reader.entry("b"))
    #expect(entry.type == .f32 && entry.shape == [2, 3])
    #expect(try reader.bytes(of: entry) == floats.withUnsafeBytes(Array.init))
    #expect(try reader.bytes(of: #require(reader.entry("a\"\\é"))) == [200])
    #expect(try reader.bytes(of: #require(reader.entry("empty"))) == [])
    #expect(reader.entry("c") == nil)
  }

  @Test func headersInAnyOrderWithSpaces() throws {
    let folder = try Folder()
    let path = try file(
      #"{ "z": {"dtype":"U8","shape":[2],"data_offsets":[3,5]}, "a":{"shape":[3],"dtype":"I8","data_offsets":[0,3]} }   "#,
      data: 5, in: folder)
    let reader = try SafetensorsReader(path)
    #expect(reader.entries.map(\.name) == ["a", "z"])
    #expect(try reader.bytes(of: reader.entries[1]) == [3, 4])
  }

  static let broken: [(header: String, data: Int, part: String)] = [
    (#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}"#, 4, "header is damaged"),
    (#" {"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}"#, 4, "begin with '{'"),
    (#"{"a":{"dtype":"U8","shape":[4]}}"#, 4, "header is damaged"),
    (#"{"a":{"dtype":"U8","shape":["4"],"data_offsets":[0,4]}}"#, 4, "header is damaged: at 'a.shape"),
    (#"{"__metadata__":{"a":1}}"#, 0, "header is damaged: at '__metadata__"),
    (#"{"a":{"dtype":"F8","shape":[4],"data_offsets":[0,4]}}"#, 4, "'F8'"),
    (#"{"a":{"dtype":"U8","shape":[-4],"data_offsets":[0,4]}}"#, 4, "do not fit"),
    (#"{"a":{"dtype":"U8","shape":[5],"data_offsets":[0,4]}}"#, 4, "do not fit"),
    (#"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,4]}}"#, 4, "do not fit"),
    (#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[4,0]}}"#, 4, "do not fit"),
    (#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,2,4]}}"#, 4, "do not fit"),
    (#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[1,5]}}"#, 5, "gaps and overlaps"),
    (
      #"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[3,7]}}"#, 7,
      "gaps and overlaps"
    ),
    (#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}"#, 3, "incomplete"),
    (#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}"#, 5, "incomplete"),
    (#"{"a":{"dtype":"U8","shape":[9223372036854775807],"data_offsets":[0,9223372036854775807]}}"#, 4, "incomplete"),
  ]

  @Test(arguments: broken) func brokenHeadersAreNamed(header: String, data: Int, part: String) throws {
    let folder = try Folder()
    let path = try file(header, data: data, in: folder)
    let error = #expect(throws: FormatError.self) { try SafetensorsReader(path) }
    #expect(error?.path == path)
    #expect(error?.reason.contains(part) == true, "\(error?.reason ?? "")")
  }

  @Test func lengthsThatCannotBe() throws {
    let folder = try Folder()
    for (bytes, part) in [
      ([1, 2, 3], "this one has 3 bytes"), (Array(repeating: 255, count: 8), "18446744073709551615 bytes"),
      ([9, 0, 0, 0, 0, 0, 0, 0, 123], "at most 1 are possible"), ([], "this one has 0 bytes"),
      ([0x50, 0x4B, 3, 4, 0, 0, 0, 0, 0], "torch.save"),
    ] as [([UInt8], String)] {
      let path = try folder.write(bytes, "w")
      let error = #expect(throws: FormatError.self) { try SafetensorsReader(path) }
      #expect(error?.reason.contains(part) == true, "\(error?.reason ?? "")")
    }
  }

  @Test func deepNestingEndsInAnError() throws {
    let folder = try Folder()
    let path = try file(#"{"a":"# + String(repeating: "[", count: 200_000), data: 0, in: folder)
    #expect(throws: FormatError.self) { try SafetensorsReader(path) }
  }
}
