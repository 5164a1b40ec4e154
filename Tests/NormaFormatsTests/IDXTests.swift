import Testing

@testable import NormaFormats

@Suite struct IDXTests {
  let folder: Folder
  /// 2 × 3 bytes, by hand.
  let small: [UInt8] = [0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 255]

  init() throws { folder = try Folder() }

  @Test func bytesByHand() throws {
    let array = try IDX.read(folder.write(small, "a"))
    #expect(array.shape == [2, 3] && array.format == .uint8 && array.values == [1, 2, 3, 4, 5, 255])
    let number = try IDX.read(folder.write([0, 0, 0x0D, 0, 0x3F, 0xC0, 0, 0], "b"))
    #expect(number.shape == [] && number.values == [1.5])
    let shorts = try IDX.read(folder.write([0, 0, 0x0B, 1, 0, 0, 0, 2, 0xFF, 0xFE, 1, 0], "c"))
    #expect(shorts.values == [-2, 256])
    let none = try IDX.read(folder.write([0, 0, 0x0E, 2, 0, 0, 0, 0, 0, 0, 0, 5], "d"))
    #expect(none.shape == [0, 5] && none.values == [])
  }

  @Test(arguments: SampleFormat.allCases) func roundTrip(_ format: SampleFormat) throws {
    let bytes = (0..<24 * format.bytesPerSample).map { UInt8(truncatingIfNeeded: $0 &* 53) }
    if format == .uint16 || format == .uint32 {
      #expect(
        failure { try IDXArray(shape: [24], format: format, bytes: bytes) }.contains("knows no \(format.rawValue)"))
      return
    }
    let array = try IDXArray(shape: [2, 1, 4, 3], format: format, bytes: bytes)
    for name in ["a.idx", "a.idx.gz"] {
      try IDX.write(array, to: folder(name))
      #expect(try IDX.read(folder(name)) == array)
    }
    #expect(try folder.bytes("a.idx.gz").prefix(2) == [0x1F, 0x8B])
    #expect(array.values.count == 24)
  }

  /// More than zlib hands over at once, and in several packed pieces.
  @Test func largeAndInPieces() throws {
    let bytes = (0..<300_000).map { UInt8(truncatingIfNeeded: ($0 &* $0) >> 7) }
    let array = try IDXArray(shape: [300, 1000], format: .uint8, bytes: bytes)
    try IDX.write(array, to: folder("plain"))
    try IDX.write(array, to: folder("whole.gz"))
    #expect(try IDX.read(folder("whole.gz")) == array)
    let plain = try folder.bytes("plain")
    let pieces = try [plain[..<5], plain[5..<70_000], [], plain[70_000...]].map { try #require(Gzip.pack(Array($0))) }
    #expect(try IDX.read(folder.write(pieces.flatMap { $0 }, "pieces")) == array)
  }

  @Test func brokenFilesAreNamed() throws {
    func reason(_ bytes: [UInt8]) throws -> String {
      let path = try folder.write(bytes, "bad.idx")
      let text = failure { try IDX.read(path) }
      #expect(text.contains(path))
      return text
    }
    #expect(try reason([]).contains("it is empty"))
    #expect(try reason([1, 2, 3]).contains("01 02 03"))
    #expect(try reason([0, 0, 0x0A, 1, 0, 0, 0, 0]).contains("00 00 0A 01"))
    #expect(try reason([0, 0, 8, 2, 0, 0]).contains("truncated"))
    #expect(try reason(small.dropLast()).contains("truncated: 6 bytes are needed, 5"))
    #expect(try reason(small + [0]).contains("more in it"))
    // 2^32 cubed, which has no product.
    #expect(try reason([0, 0, 0x0E, 3] + Array(repeating: 0xFF, count: 12)).contains("more than a file of its length"))
    let packed = try #require(Gzip.pack(small))
    #expect(try reason(packed.dropLast()).contains("truncated"))
    #expect(try reason(Array(packed.prefix(packed.count - 10))).contains("truncated"))
    var changed = packed
    // The checksum.
    changed[packed.count - 8] ^= 1
    #expect(try reason(changed).contains("corrupt (zlib: incorrect data check"))
    #expect(try reason(packed + [7, 7]).contains("corrupt"))
    #expect(try reason(try #require(Gzip.pack(small + [0]))).contains("more in it"))
    #expect(try reason(try #require(Gzip.pack(small.dropLast()))).contains("truncated: 6 bytes are needed, 5"))
    // A megabyte of zeros in a thousand bytes, of which the header wants none.
    let bomb = try #require(Gzip.pack([0, 0, 8, 1, 0, 0, 0, 0] + Array(repeating: 0, count: 1 << 20)))
    #expect(try bomb.count < 2000 && reason(bomb).contains("more in it"))
    #expect(try reason(try #require(Gzip.pack([0, 0, 8, 1, 0xFF, 0xFF, 0xFF, 0xFF]))).contains("more than a file"))
    #expect(failure { try IDX.read(folder("none")) }.contains("No such file"))
    #expect(failure { try IDX.read(folder.path) }.contains("directory"))
  }

  @Test func wrongArraysAreRefused() throws {
    #expect(failure { try IDXArray(shape: [2, 2], format: .uint8, bytes: [1]) }.contains("does not match 1 bytes"))
    #expect(failure { try IDXArray(shape: [-1], format: .uint8, bytes: [1]) }.contains("does not match"))
    let array = try IDXArray(shape: [1], format: .uint8, bytes: [1])
    #expect(failure { try IDX.write(array, to: folder.path) }.contains("cannot write"))
  }
}

@Suite struct CIFARTests {
  let folder: Folder
  private let image = (0..<CIFAR.imageBytes).map { UInt8(truncatingIfNeeded: $0 / 13) }

  init() throws { folder = try Folder() }

  @Test func bothKinds() throws {
    let ten = try CIFAR.read(folder.write([9] + image + [0] + image.reversed(), "ten.bin"))
    #expect(ten.classes == [9, 0] && ten.coarseClasses == nil && ten.pixels == image + image.reversed())
    let hundred = try CIFAR.read(folder.write([19, 99] + image, "hundred.bin"), .cifar100)
    #expect(hundred.classes == [99] && hundred.coarseClasses == [19] && hundred.pixels == image)
  }

  @Test func brokenFilesAreNamed() throws {
    func reason(_ bytes: [UInt8], _ kind: CIFAR.Kind = .cifar10) throws -> String {
      let path = try folder.write(bytes, "bad.bin")
      return failure { try CIFAR.read(path, kind) }
    }
    #expect(try reason([]).contains("records of 3073 bytes"))
    #expect(try reason([1] + image.dropLast()).contains("it has 3072 bytes"))
    #expect(try reason([1] + image, .cifar100).contains("records of 3074 bytes"))
    #expect(try reason([1] + image + [10] + image).contains("record 2 has the class 10, expected 0 to 9"))
    #expect(try reason([20, 99] + image, .cifar100).contains("the class 20, expected 0 to 19"))
    #expect(try reason([0, 100] + image, .cifar100).contains("the class 100, expected 0 to 99"))
    #expect(try reason([0x1F, 0x8B, 8]).contains("unpack it"))
    #expect(failure { try CIFAR.read(folder("none")) }.contains("No such file"))
  }
}

@Suite struct CSVTests {
  let folder: Folder

  init() throws { folder = try Folder() }

  private func read(_ text: String) throws -> CSVTable { try CSV.read(folder.write(Array(text.utf8), "a.csv")) }

  @Test func fieldsQuotesAndLineEnds() throws {
    let table = try read("\u{FEFF}name,\"a, \"\"b\"\"\"\r\n\r\n\"two\nlines\",1\r\n,\" \"\n\nlast, 2.5e1 ")
    #expect(table.columns == ["name", "a, \"b\""])
    #expect(table.rowCount == 3 && table.lines == [3, 5, 7])
    #expect((0..<3).map { table[$0, 0] } == ["two\nlines", "", "last"])
    #expect((0..<3).map { table[$0, 1] } == ["1", " ", " 2.5e1 "])
    #expect(table.column(named: "NAME") == 0 && table.column(named: "x", "A, \"b\"") == 1)
    #expect(table.column(named: "x") == nil)
    let empty = try read("score\n")
    #expect(empty.rowCount == 0 && empty.columns == ["score"])
    #expect(try read("a,b\r\n1,\r\n").lines == [2])
    // A carriage return by itself is part of a field.
    #expect(try read("a\nx\ry\n")[0, 0] == "x\ry")
  }

  @Test func numbers() throws {
    let table = try read("n,m\n1, -2.5 \n+3e2,0\n")
    #expect(try table.numbers(in: 0) == [1, 300])
    #expect(try table.numbers(in: 1) == [-2.5, 0])
    for wrong in ["", "x", "0x10", "nan", "inf", "1e999", "1 2", "1.2.3", "\u{0661}"] {
      let table = try read("frame,score\n1,2\n2,\"\(wrong)\"\n")
      let text = failure { try table.numbers(in: 1) }
      #expect(text.contains("a.csv") && text.contains("line 3, column 2 ('score')") && text.contains("'\(wrong)'"))
    }
  }

  @Test func brokenFilesAreNamed() throws {
    func reason(_ text: String) -> String { failure { try read(text) } }
    #expect(reason("").contains("it is empty"))
    #expect(reason("\n\n").contains("it is empty"))
    #expect(reason("a,b\n1,2\n\n1\n").contains("line 4: 2 fields were expected, as in the first row, found 1"))
    #expect(reason("a,b\n1,2,3").contains("line 2: 2 fields were expected, as in the first row, found 3"))
    #expect(reason("a\n\"x\ny").contains("line 2: the quote that opens column 1 is never closed"))
    #expect(reason("a,b\n1,\"x\"y\n").contains("line 2: after the closing quote of column 2"))
    #expect(reason("a,b\n1,x\"y\n").contains("line 2: column 2 has a quote inside"))
    #expect(reason("a,b,a\n").contains("two columns have the name 'a'"))
    #expect(failure { try CSV.read(folder.write([0x61, 0xFF, 0x0A], "b")) }.contains("UTF-8"))
    #expect(failure { try CSV.read(folder("none")) }.contains("No such file"))
    let eight = try folder.write(Array("a,b\n1,2\n3,4\n5,6\n".utf8), "c")
    #expect(try CSV.read(eight, mostFields: 6).rowCount == 3)
    #expect(failure { try CSV.read(eight, mostFields: 5) }.contains("more than 5 fields"))
  }
}
