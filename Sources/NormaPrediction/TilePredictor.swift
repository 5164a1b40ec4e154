import NormaData
import NormaNN
import NormaNormalization
import NormaTensor

/// A prediction that cannot be made: what was expected and what came.
public struct PredictionError: Error, CustomStringConvertible, Sendable {
  public let description: String
  public init(_ description: String) { self.description = description }
}

/// Where norms that take statistics of the image (instance, group, layer, …) have them from when a page is predicted in tiles.
public enum TileStatistics: String, Sendable, CaseIterable {
  /// Every tile has its own.
  case tile
  /// Moments from a first pass, in which tiles have their own, pooled over all tiles. Approximate: what enters a layer in the
  /// first pass comes from layers with the statistics of tiles. More such passes lead away before they lead nearer: under fixed
  /// statistics the error of one layer's moments grows in the next ones.
  case pooled
  /// The page's, as if it had been predicted in one piece: a pass for every such layer, each with all layers before fixed.
  case exact
}

/// Predicts pages of any size with a segmentation network, tile by tile, in evaluation mode.
///
/// A page is mirrored at its lower and right border up to extents that the network takes. A page that fits into one tile is
/// predicted in one piece. Memory depends on the tile and on the width of the page, not on its height.
public final class TilePredictor {
  public struct Options: Sendable {
    /// Height and width of a tile, halo included.
    public var tile = 512
    /// The share of a tile that it has in common with its neighbour, 0…0.5.
    public var overlap = 0.25
    /// nil: gaussian where tiles differ in what they say about a pixel; none where they do not.
    public var blend: TileBlend?
    /// nil: ``TilePredictor/defaultStatistics``.
    public var statistics: TileStatistics?
    /// Means of the probabilities over the eight symmetries of the square.
    public var usesSymmetries = false
    public var device = Device.cpu

    public init() {}
  }

  /// An image that is read by rows.
  public struct Page {
    public let channels: Int
    public let height: Int
    public let width: Int
    /// Values in 0…1 of rows, index = (channel * rows + row) * width + column.
    public let read: (Range<Int>) throws -> [Float]

    public init(channels: Int, height: Int, width: Int, read: @escaping (Range<Int>) throws -> [Float]) {
      (self.channels, self.height, self.width, self.read) = (channels, height, width, read)
    }
  }

  /// For networks whose norms take statistics of the image. Networks are trained on crops, which tiles are like, and not on
  /// whole pages: on a mosaic of four held-out slices tiles of 512 with statistics of their own scored better than the page
  /// in one piece, at the cost of one pass (U-Nets of width 8 under group and switchable normalization, crops of 192).
  public static let defaultStatistics = TileStatistics.tile

  public let options: Options
  /// Where statistics come from; nil for a network that takes none of the image.
  public let statistics: TileStatistics?
  public let blend: TileBlend
  /// Pixels around a core.
  public let halo: Int
  private let model: any Layer
  private let extentMultiple: Int
  /// How many norms take statistics of the image.
  private let normCount: Int

  /// - Parameters:
  ///   - model: [1, C, H, W] → logits [1, K, H, W], one for two classes. It is moved to the device and put into evaluation mode.
  ///   - extentMultiple: what H and W are multiples of.
  ///   - receptiveRadius: how far from an output pixel the input lies that it depends on, statistics apart.
  /// - Throws: ``PredictionError`` for options that do not fit the network or each other.
  public init(
    model: any Layer, extentMultiple: Int, receptiveRadius: Int, options: Options = Options()
  ) throws {
    guard options.tile > 0, options.tile % extentMultiple == 0 else {
      let near = max(1, options.tile / extentMultiple) * extentMultiple
      throw PredictionError(
        "the network takes tiles whose side is a multiple of \(extentMultiple), got \(options.tile); choose \(near) or "
          + "another multiple")
    }
    guard (0...0.5).contains(options.overlap) else {
      throw PredictionError(
        "the overlap is the share of a tile that its neighbour has too, 0…0.5, got \(options.overlap)")
    }
    model.evaluate()
    normCount = try model.imageStatisticsCount
    statistics = normCount == 0 ? nil : options.statistics ?? Self.defaultStatistics
    if statistics == .pooled || statistics == .exact,
      let stranger = model.namedModules().first(where: {
        $0.module is ElementwiseLayerNorm || $0.module is ElementwiseRMSNorm
      })
    {
      throw PredictionError(
        "\(type(of: stranger.module)) '\(stranger.key)' takes statistics that cannot be pooled over tiles; choose the "
          + "statistics of every tile (--statistics tile)")
    }
    let isSeamless = statistics == .exact || statistics == nil
    if statistics == .exact, options.blend == .gaussian {
      throw PredictionError(
        "with exact statistics tiles agree on every pixel that they are asked for, so there is nothing to blend; leave out "
          + "the blend, or choose pooled statistics")
    }
    blend = options.blend ?? (isSeamless ? .none : .gaussian)
    func aligned(_ extent: Int) -> Int { extent.roundedUp(toMultipleOf: extentMultiple) }
    // Of an overlap as much as leaves a core.
    let shared = min(
      aligned(Int((Double(options.tile) * options.overlap / 2).rounded(.up))),
      max(0, (options.tile - extentMultiple) / 2 / extentMultiple * extentMultiple))
    halo = isSeamless && blend == .none ? max(aligned(receptiveRadius), shared) : shared
    self.options = options
    self.model = model
    self.extentMultiple = extentMultiple
    try model.to(device: options.device)
    // The fast layout for 2-d convolutions; outputs follow the weights.
    try model.to(memoryFormat: .channelsLast)
  }

  /// Predicts one page.
  /// - Parameters:
  ///   - progress: called after every pass over a tile with the share of the work that is done.
  ///   - emit: takes probabilities of rows as they are finished, from the first to the last: of class 1 for a network of one
  ///     output, else of every class; index = (class * rows + row) * width + column.
  /// - Throws: ``PredictionError`` where tiles are too small, and what the page, the network and `emit` throw.
  public func predict(
    _ page: Page, progress: (Double) throws -> Void = { _ in }, emit: (Range<Int>, [Float]) throws -> Void
  ) throws {
    let rows = try axis(page.height)
    let columns = try axis(page.width)
    let wasTraining = model.isTraining
    model.evaluate()
    defer { model.train(wasTraining) }
    let statistics = takesInOnePiece(height: page.height, width: page.width) ? nil : statistics
    let symmetries = options.usesSymmetries ? Symmetry.all : [.identity]
    // A measuring pass of exact statistics ends with its layer, on average halfway.
    let measuring = statistics == .exact ? Double(normCount + 1) / 2 : statistics == .pooled ? 1 : 0
    let all = (measuring + 1) * Double(rows.spans.count * columns.spans.count * symmetries.count)
    var done = 0.0
    func advance(_ passes: Double) throws {
      done += passes
      try progress(min(1, done / all))
    }
    try withoutGradients {
      // Moved pages have moments of their own.
      let moved = symmetries.map { (symmetry: $0, moments: ImageMoments()) }
      if statistics == .pooled || statistics == .exact {
        try measure(moved, page, rows, columns, layerByLayer: statistics == .exact, advance)
      }
      var joined: JoinedRows?
      try forEachTile(of: page, rows, columns) { row, column, image in
        var sum: Tensor?
        for (symmetry, moments) in moved {
          let output = try symmetry.reverted(moments.apply { try model(symmetry.applied(to: image)) })
          guard output.shape.count == 4, output.shape.dropFirst(2) == image.shape.dropFirst(2) else {
            throw PredictionError(
              "a network whose output is as large as its input was expected, for \(image.shape) came \(output.shape); networks "
                + "without padding cannot predict in tiles")
          }
          let logits = try output.sliced(0..<page.rows(of: row).count, dimension: 2).sliced(
            0..<page.columns(of: column).count, dimension: 3
          )
          .to(dtype: .float32)
          let probabilities = try logits.shape[1] == 1 ? logits.sigmoid() : logits.softmax(1)
          sum = try sum.map { try $0 + probabilities } ?? probabilities
          try advance(1)
        }
        guard let sum else { return false }
        let mean = symmetries.count == 1 ? sum : try sum / Double(symmetries.count)
        if joined == nil {
          joined = JoinedRows(page: page, classes: mean.shape[1], capacity: rows.spans[0].tile.count)
        }
        try joined?.add(mean.array(), row, column)
        if column.core.upperBound == columns.spans.last?.core.upperBound {
          // The next tiles begin with the next row of them.
          let next = rows.spans.first { $0.core.lowerBound == row.core.upperBound }
          try joined?.finish(before: next?.kept.lowerBound ?? page.height, emit)
        }
        return true
      }
    }
    try progress(1)
  }

  /// Takes the moments of the page, for every symmetry.
  /// - Parameter layerByLayer: whether every layer's are taken with those of all layers before it fixed, in passes that end there.
  private func measure(
    _ moved: [(symmetry: Symmetry, moments: ImageMoments)], _ page: Page, _ rows: TileAxis, _ columns: TileAxis,
    layerByLayer: Bool, _ advance: (Double) throws -> Void
  ) throws {
    var isFound = true
    repeat {
      let share = layerByLayer ? Double(moved[0].moments.count + 1) / Double(normCount) : 1
      try forEachTile(of: page, rows, columns) { row, column, image in
        for (symmetry, moments) in moved {
          isFound = try moments.measure(symmetry.region(core: row, column), onlyNext: layerByLayer) {
            _ = try model(symmetry.applied(to: image))
          }
          // No layer is left.
          if !isFound { return false }
          try advance(share)
        }
        return true
      }
      for (_, moments) in moved { moments.fixMeasured() }
    } while layerByLayer && isFound
  }

  /// Whether a page of this size fits into one tile, whose own statistics are then the page's.
  public func takesInOnePiece(height: Int, width: Int) -> Bool {
    [height, width].allSatisfy { padded($0) <= options.tile }
  }

  private func padded(_ extent: Int) -> Int { extent.roundedUp(toMultipleOf: extentMultiple) }

  private func axis(_ extent: Int) throws -> TileAxis {
    guard padded(extent) <= options.tile || options.tile > 2 * halo else {
      throw PredictionError(
        "tiles of \(options.tile) pixels are too small: \(halo) at every side only serve the pixels between; the smallest "
          + "that works is \(2 * halo + extentMultiple)")
    }
    return TileAxis(extent: padded(extent), tile: options.tile, halo: halo, blend: blend)
  }

  /// Calls the body with the tiles of the page [1, C, h, w], row by row, until it returns false.
  private func forEachTile(
    of page: Page, _ rows: TileAxis, _ columns: TileAxis,
    _ body: (_ row: TileAxis.Span, _ column: TileAxis.Span, _ image: Tensor) throws -> Bool
  ) throws {
    for row in rows.spans {
      let sources = row.tile.map { mirrored($0, page.height) }
      let needed = sources.min()!..<sources.max()! + 1
      let band = try page.read(needed)
      for column in columns.spans {
        let image = try tile(
          of: band, rowsOfBand: needed.count, rows: sources.map { $0 - needed.lowerBound }, columns: column.tile, page)
        guard try body(row, column, image) else { return }
      }
    }
  }

  private func tile(
    of band: [Float], rowsOfBand: Int, rows: [Int], columns: Range<Int>, _ page: Page
  ) throws -> Tensor {
    let count = page.channels * rows.count * columns.count
    let inside = columns.clamped(to: 0..<page.width)
    let beyond = (inside.upperBound..<columns.upperBound).map { mirrored($0, page.width) }
    let values = [Float](unsafeUninitializedCapacity: count) { target, initialized in
      band.withUnsafeBufferPointer { source in
        var place = target.baseAddress!
        for channel in 0..<page.channels {
          for row in rows {
            let line = source.baseAddress! + (channel * rowsOfBand + row) * page.width
            place.update(from: line + inside.lowerBound, count: inside.count)
            for (index, column) in beyond.enumerated() { place[inside.count + index] = line[column] }
            place += columns.count
          }
        }
      }
      initialized = count
    }
    return try Tensor(values, shape: [1, page.channels, rows.count, columns.count])
      .to(device: options.device).contiguous(.channelsLast)
  }
}

extension Int {
  fileprivate func roundedUp(toMultipleOf step: Int) -> Int { (self + step - 1) / step * step }
}

extension Symmetry {
  /// [N, C, H, W] moved by this symmetry, as `Symmetry` moves crops.
  fileprivate func applied(to image: Tensor) throws -> Tensor {
    if self == .identity { return image }
    let flipped = try mirrored(image)
    return try (transposes ? flipped.transposed(2, 3) : flipped).contiguous(.channelsLast)
  }

  /// The other way.
  fileprivate func reverted(_ image: Tensor) throws -> Tensor {
    try mirrored(transposes ? image.transposed(2, 3) : image)
  }

  private func mirrored(_ image: Tensor) throws -> Tensor {
    let dimensions = (mirrorsRows ? [2] : []) + (mirrorsColumns ? [3] : [])
    return dimensions.isEmpty ? image : try image.flipped(dimensions)
  }

  /// Where a tile's core lies in the moved tile.
  fileprivate func region(core row: TileAxis.Span, _ column: TileAxis.Span) -> ImageMoments.Region {
    func place(_ span: TileAxis.Span, mirrors: Bool) -> Range<Int> {
      mirrors
        ? span.tile.upperBound - span.core.upperBound..<span.tile.upperBound - span.core.lowerBound
        : span.core.lowerBound - span.tile.lowerBound..<span.core.upperBound - span.tile.lowerBound
    }
    let rows = place(row, mirrors: mirrorsRows)
    let columns = place(column, mirrors: mirrorsColumns)
    let (height, width) = (row.tile.count, column.tile.count)
    return transposes
      ? ImageMoments.Region(rows: columns, columns: rows, height: width, width: height)
      : ImageMoments.Region(rows: rows, columns: columns, height: height, width: width)
  }
}

extension TilePredictor.Page {
  /// What of a tile is no mirror image.
  fileprivate func rows(of span: TileAxis.Span) -> Range<Int> { span.tile.clamped(to: 0..<height) }
  fileprivate func columns(of span: TileAxis.Span) -> Range<Int> { span.tile.clamped(to: 0..<width) }
}

/// Rows of a page to which tiles still add.
private struct JoinedRows {
  private let classes: Int
  private let capacity: Int
  private let page: TilePredictor.Page
  /// The first row that is not finished; it is the first of the values.
  private var first = 0
  /// Per class, `capacity` rows.
  private var values: [Float]

  init(page: TilePredictor.Page, classes: Int, capacity: Int) {
    (self.page, self.classes, self.capacity) = (page, classes, capacity)
    values = [Float](repeating: 0, count: classes * capacity * page.width)
  }

  /// Adds the weighted values [classes, rows, columns] of what of a tile lies in the page.
  mutating func add(_ tile: [Float], _ row: TileAxis.Span, _ column: TileAxis.Span) {
    let visible = (rows: page.rows(of: row), columns: page.columns(of: column))
    let rows = row.kept.clamped(to: visible.rows)
    let columns = column.kept.clamped(to: visible.columns)
    let (first, capacity, width) = (first, capacity, page.width)
    values.withUnsafeMutableBufferPointer { target in
      tile.withUnsafeBufferPointer { source in
        for k in 0..<classes {
          for y in rows {
            let weight = row.weights[y - row.kept.lowerBound]
            let line =
              source.baseAddress!
              + (k * visible.rows.count + y - visible.rows.lowerBound) * visible.columns.count
              + columns.lowerBound - visible.columns.lowerBound
            let place = target.baseAddress! + (k * capacity + y - first) * width + columns.lowerBound
            column.weights.withUnsafeBufferPointer { weights in
              let start = columns.lowerBound - column.kept.lowerBound
              for x in 0..<columns.count { place[x] += weight * weights[start + x] * line[x] }
            }
          }
        }
      }
    }
  }

  /// Hands out the rows before one to which nothing is added any more.
  mutating func finish(before end: Int, _ emit: (Range<Int>, [Float]) throws -> Void) throws {
    let end = min(end, page.height)
    let count = (end - first) * page.width
    guard count > 0 else { return }
    let perClass = capacity * page.width
    var finished: [Float] = []
    finished.reserveCapacity(classes * count)
    for k in 0..<classes {
      let start = k * perClass
      finished += values[start..<start + count]
      values.withUnsafeMutableBufferPointer { values in
        let plane = values.baseAddress! + start
        plane.update(from: plane + count, count: perClass - count)
        (plane + perClass - count).update(repeating: 0, count: count)
      }
    }
    try emit(first..<end, finished)
    first = end
  }
}
