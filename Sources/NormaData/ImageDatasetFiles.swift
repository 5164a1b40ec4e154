import NormaFormats

extension ImageDataset {
  /// The digits of MNIST, or another set in its form, from two IDX files, packed by gzip or not.
  ///
  /// - Parameters:
  ///   - images: the path of uint8 images, [count, height, width].
  ///   - labels: the path of whole numbers from 0 on, [count].
  ///   - classes: how many classes there are; `nil` for the greatest label and one. For a set that need not have them all.
  /// - Throws: `FormatError` or `DataError`.
  public static func mnist(
    images: String, labels: String, classes: Int? = nil, name: String = "MNIST"
  ) throws -> ImageDataset {
    let (pictures, numbers) = (try IDX.read(images), try IDX.read(labels))
    guard pictures.shape.count == 3, pictures.format == .uint8, !pictures.shape.contains(0) else {
      throw DataError(
        .files,
        "Expected uint8 images in three dimensions (count, rows, columns) in '\(images)', received \(describe(pictures)); "
          + "check that images and labels are not exchanged.")
    }
    guard numbers.shape.count == 1, numbers.format.range != nil else {
      throw DataError(
        .files,
        "Expected whole numbers in one dimension in '\(labels)', received \(describe(numbers)); check that images and labels "
          + "are not exchanged.")
    }
    guard numbers.count == pictures.shape[0] else {
      throw DataError(
        .pageCount,
        "Expected one label for each of the \(pictures.shape[0]) images in '\(images)', received \(numbers.count) in "
          + "'\(labels)'; give files of the same set.")
    }
    let values = numbers.values
    try checkPositive(("classes", classes ?? 1))
    let limit = min(classes ?? greatestClassCount, greatestClassCount)
    if let wrong = values.first(where: { $0 < 0 || $0 >= Float(limit) }) {
      throw DataError(
        .labelValue, "Expected labels from 0 to \(limit - 1) in '\(labels)', received \(Int(wrong)).")
    }
    let count = classes == nil ? Int(values.max() ?? 0) + 1 : limit
    return try ImageDataset(
      name: name, channels: 1, height: pictures.shape[1], width: pictures.shape[2], pixels: .bytes(pictures.bytes),
      targets: .classes(values.map { UInt16($0) }, names: (0..<count).map(String.init)))
  }

  /// More classes than this look like something else.
  private static let greatestClassCount = 10_000

  private static func describe(_ array: IDXArray) -> String {
    "\(array.shape.map(String.init).joined(separator: "×")) of \(array.format.rawValue)"
  }

  /// The colour images of CIFAR-10 from its binary files, [count, 3, 32, 32].
  /// - Throws: `FormatError`, and `DataError` for no file.
  public static func cifar10(_ files: [String], name: String = "CIFAR-10") throws -> ImageDataset {
    let names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    return try cifar(files, .cifar10, names: names, name: name) { $0.classes }
  }

  /// The colour images of CIFAR-100 from its binary files, [count, 3, 32, 32], in 100 classes or its 20 coarse ones.
  /// - Throws: `FormatError`, and `DataError` for no file.
  public static func cifar100(
    _ files: [String], coarse: Bool = false, name: String = "CIFAR-100"
  ) throws -> ImageDataset {
    try cifar(files, .cifar100, names: (0..<(coarse ? 20 : 100)).map(String.init), name: name) {
      coarse ? $0.coarseClasses ?? [] : $0.classes
    }
  }

  private static func cifar(
    _ files: [String], _ kind: CIFAR.Kind, names: [String], name: String, _ classes: (CIFAR) -> [UInt8]
  ) throws -> ImageDataset {
    var (pixels, numbers): ([UInt8], [UInt16]) = ([], [])
    for file in files {
      let part = try CIFAR.read(file, kind)
      pixels += part.pixels
      numbers += classes(part).lazy.map(UInt16.init)
    }
    return try ImageDataset(
      name: name, channels: 3, height: CIFAR.side, width: CIFAR.side, pixels: .bytes(pixels),
      targets: .classes(numbers, names: names))
  }

  /// PNG files in a folder with one sub-folder per class, whose names become the names of the classes, sorted.
  ///
  /// Pictures may have any size: the shorter side is resized to `side` and the middle of the longer is taken. They are all
  /// grey or all in colour, with 8 or 16 bits; transparency is passed over. Names that begin with a dot, and files beside the
  /// sub-folders, are passed over too.
  ///
  /// - Returns: 8-bit images [count, 1 or 3, side, side], in the order of the classes and then of the files' names.
  /// - Throws: `FormatError` for a file that cannot be read; `DataError` for fewer than two sub-folders, one without files, a
  ///   file of another kind, or grey and colour together.
  public static func imageFolder(_ path: String, side: Int, name: String? = nil) throws -> ImageDataset {
    let folders = try folderNames(path).sorted(by: precedesNaturally).filter {
      try fileKind("\(path)/\($0)") == .folder
    }
    guard folders.count > 1 else {
      throw DataError(
        .classCount,
        "Expected a sub-folder of PNG files for each of at least two classes in '\(path)', received "
          + (folders.first.map { "only '\($0)'" } ?? "none") + ".")
    }
    guard folders.count <= greatestClassCount else {
      throw DataError(
        .classCount, "Expected at most \(greatestClassCount) sub-folders in '\(path)', received \(folders.count).")
    }
    let files = try folders.map { try pngFiles("\(path)/\($0)") }
    return try ImageDataset(
      name: name ?? path, pictures: files.joined().map(\.self), side: side,
      targets: .classes(
        files.enumerated().flatMap { number, files in files.map { _ in UInt16(number) } }, names: folders))
  }

  /// The PNG files of one folder without classes, as `imageFolder` takes them; all are of a class "picture".
  /// - Parameter inColour: whether grey pictures get three equal channels, so that both kinds may stand together.
  /// - Throws: `FormatError` or `DataError` as `imageFolder`.
  public static func pictures(
    _ path: String, side: Int, inColour: Bool = false, name: String? = nil
  ) throws -> ImageDataset {
    try pictures([path], side: side, inColour: inColour, name: name ?? path)
  }

  /// The same of PNG files and folders of them.
  public static func pictures(
    _ paths: [String], side: Int, inColour: Bool = false, name: String
  ) throws -> ImageDataset {
    let files = try paths.flatMap { try fileKind($0) == .folder ? try pngFiles($0) : [$0] }
    return try ImageDataset(
      name: name, pictures: files, side: side, inColour: inColour,
      targets: .classes(files.map { _ in 0 }, names: ["picture"]))
  }

  /// The PNG files of a folder, as numbers in their names count.
  /// - Throws: `DataError` for a folder without any or with others.
  public static func pngFiles(_ folder: String) throws -> [String] {
    let names = try folderNames(folder).sorted(by: precedesNaturally)
    guard !names.isEmpty else {
      throw DataError(
        .files, "Expected PNG files in the folder '\(folder)', received none; add some or remove the folder.")
    }
    if let other = names.first(where: { !$0.lowercased().hasSuffix(".png") }) {
      throw DataError(
        .files, "Expected only files that end in .png in '\(folder)', received '\(other)'; convert or remove it.")
    }
    return names.map { "\(folder)/\($0)" }
  }

  private init(name: String, pictures: [String], side: Int, inColour: Bool = false, targets: Targets) throws {
    try checkPositive(("side", side), ("pictures in \(name)", pictures.count))
    var channels = 0
    var pixels: [UInt8] = []
    for file in pictures {
      let picture = try PNG.read(file)
      let own = picture.channels < 3 ? 1 : 3
      let found = inColour ? 3 : own
      if pixels.isEmpty {
        channels = found
        let (area, isLarge) = side.multipliedReportingOverflow(by: side)
        let (size, isLarger) = area.multipliedReportingOverflow(by: channels * pictures.count)
        guard !isLarge, !isLarger, isThereMemory(bytes: size) else {
          throw DataError(
            .parameter,
            "Expected a side with which \(pictures.count) images fit into this process's memory, received \(side); lower it."
          )
        }
        pixels.reserveCapacity(size)
      }
      guard found == channels else {
        throw DataError(
          .files,
          "Expected pictures that are all grey or all in colour, received '\(pictures[0])' with \(channels) and '\(file)' with "
            + "\(found) channels; convert one kind into the other.")
      }
      let scale: Float = picture.format == .uint16 ? 257 : 1
      let values = ImageResizer.square(picture, channels: own, side: side).map {
        UInt8(max(0, min(255, ($0 / scale).rounded())))
      }
      for _ in 0..<found / own { pixels += values }
    }
    try self.init(name: name, channels: channels, height: side, width: side, pixels: .bytes(pixels), targets: targets)
  }

  /// Optical flow between the frames of a film, in three streams, with a score for each frame.
  ///
  /// - Parameters:
  ///   - u: the path of a stack of the horizontal component, one channel, real or whole numbers; taken as they are.
  ///   - v: the path of the vertical component's stack.
  ///   - strain: the path of the optical strain's stack.
  ///   - scores: the path of a CSV file with a column "score" (or one column alone), one row per page. A column "page" or "frame"
  ///     counts the pages from 0 or 1, in any order; without it, rows are in the order of the pages.
  /// - Returns: images [pages, 3, height, width] with the scores as numbers.
  /// - Throws: `FormatError` for a file that cannot be read; `DataError` for files that do not fit together.
  public static func spotting(
    u: String, v: String, strain: String, scores: String, name: String = "optical flow"
  ) throws -> ImageDataset {
    let streams = try [u, v, strain].map { try ImageFile.read($0) }
    let first = streams[0]
    for (path, stream) in zip([u, v, strain], streams) {
      guard stream.channels == 1 else {
        throw DataError(
          .size,
          "Expected one channel in '\(path)', received \(stream.channels); write a component of the flow per file.")
      }
      guard stream.pages == first.pages else {
        throw DataError(
          .pageCount, "Expected \(first.pages) pages in '\(path)' as in '\(u)', received \(stream.pages).")
      }
      guard stream.height == first.height, stream.width == first.width else {
        throw DataError(
          .size,
          "Expected \(first.height)×\(first.width) pixels (height×width) in '\(path)' as in '\(u)', received "
            + "\(stream.height)×\(stream.width).")
      }
    }
    let targets = try self.scores(of: CSV.read(scores), pages: first.pages)
    let area = first.height * first.width
    var values: [Float] = []
    values.reserveCapacity(3 * area * first.pages)
    for page in 0..<first.pages {
      for stream in streams { values += stream.values[page * area..<(page + 1) * area] }
    }
    return try ImageDataset(
      name: name, channels: 3, height: first.height, width: first.width, pixels: .reals(values),
      targets: .values(targets, name: "score"))
  }

  private static func scores(of table: CSVTable, pages: Int) throws -> [Float] {
    func wrong(_ expected: String) -> DataError { DataError(.target, "Expected \(expected) in '\(table.path)'.") }
    guard let scoreColumn = table.column(named: "score") ?? (table.columns.count == 1 ? 0 : nil) else {
      throw wrong("a column 'score', received \(table.columns.map { "'\($0)'" }.joined(separator: ", "))")
    }
    guard table.rowCount == pages else {
      throw wrong("a row with a score for each of the \(pages) pages, received \(table.rowCount) rows")
    }
    let scores = try table.numbers(in: scoreColumn).map { Float($0) }
    guard let pageColumn = table.column(named: "page", "frame") else { return scores }
    let numbers = try table.numbers(in: pageColumn)
    let base: Double = numbers.contains(0) ? 0 : 1
    var ordered = [Float?](repeating: nil, count: pages)
    for (row, number) in numbers.enumerated() {
      guard let page = Int(exactly: number - base), ordered.indices.contains(page), ordered[page] == nil else {
        throw wrong(
          "the pages \(Int(base)) to \(pages - 1 + Int(base)) once each in the column '\(table.columns[pageColumn])', received "
            + "'\(table[row, pageColumn].prefix(40))' in line \(table.lines[row])")
      }
      ordered[page] = scores[row]
    }
    return ordered.compactMap(\.self)
  }
}
