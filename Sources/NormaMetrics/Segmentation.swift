/// The segments of one binary slice: regions numbered 1, 2, …, with 0 between them.
///
/// The labels lie in a grid with a frame of one pixel on every side, so that every pixel has four neighbours.
public struct Segmentation: Sendable, Equatable {
  /// Rows and columns of the slice, without the frame.
  public let height: Int
  public let width: Int
  /// Number of segments; the labels are 0...count.
  public private(set) var count: Int
  /// (height + 2) × (width + 2) values.
  private(set) var framed: [Int32]

  /// What a pixel holds besides a label.
  private enum Mark {
    static let frame: Int32 = -3
    static let queued: Int32 = -2
    static let open: Int32 = -1
    static let line: Int32 = 0
  }

  private var stride: Int { width + 2 }

  /// The place of every pixel in the framed grid, in the order of rows.
  static func framedIndex(_ pixel: Int, width: Int) -> Int {
    let (y, x) = pixel.quotientAndRemainder(dividingBy: width)
    return (y + 1) * (width + 2) + x + 1
  }

  /// The 4-connected components of the foreground, in the order in which a scan by rows meets them.
  ///
  /// - Parameter foreground: [height, width] by rows, true inside cells, false on membranes.
  public init(components foreground: [Bool], height: Int, width: Int) {
    checkSize(foreground.count, "foreground", height: height, width: width)
    self.init(height: height, width: width) { foreground[$0] }
  }

  /// The proposal as the scores take it: its 4-connected components, and one segment where it is uniform.
  ///
  /// Only a uniform proposal without foreground needs this: it has no component, but it does not cut anything either.
  public init(proposal foreground: [Bool], height: Int, width: Int) {
    self.init(components: foreground, height: height, width: width)
    uniteUniform()
  }

  @inline(__always)
  init(height: Int, width: Int, isForeground: (Int) -> Bool) {
    self.height = height
    self.width = width
    count = 0
    let stride = width + 2
    framed = [Int32](repeating: Mark.frame, count: (height + 2) * stride)
    var found: Int32 = 0
    framed.withUnsafeMutableBufferPointer { labels in
      for y in 0..<height {
        let row = (y + 1) * stride + 1
        for x in 0..<width { labels[row + x] = isForeground(y * width + x) ? Mark.open : Mark.line }
      }
      var pending: [Int] = []
      for y in 1...height {
        for start in y * stride + 1...y * stride + width where labels[start] == Mark.open {
          found += 1
          labels[start] = found
          pending.append(start)
          while let pixel = pending.popLast() {
            // A neighbour is pending once, because it is numbered when it is found.
            @inline(__always)
            func visit(_ neighbour: Int) {
              guard labels[neighbour] == Mark.open else { return }
              labels[neighbour] = found
              pending.append(neighbour)
            }
            visit(pixel - 1)
            visit(pixel + 1)
            visit(pixel - stride)
            visit(pixel + stride)
          }
        }
      }
    }
    count = Int(found)
  }

  /// The label of every pixel, [height, width] by rows.
  public var labels: [Int32] {
    var labels: [Int32] = []
    labels.reserveCapacity(height * width)
    for y in 0..<height {
      let start = (y + 1) * stride + 1
      labels += framed[start..<start + width]
    }
    return labels
  }

  /// Makes a slice without any segment one segment.
  mutating func uniteUniform() {
    guard count == 0 else { return }
    for y in 1...height {
      for pixel in y * stride + 1...y * stride + width { framed[pixel] = 1 }
    }
    count = 1
  }

  /// Grows the segments over the membrane until lines of one pixel lie between them: the labels of the watershed
  /// of the image {membrane 255, cell 0} with 4-neighbours, whose lines have label 0.
  ///
  /// Immersion by levels after Vincent and Soille ("Watersheds in digital spaces", IEEE PAMI 13(6), 1991): every
  /// component at level 0 is a basin; at level 255 the basins grow at equal speed, breadth first. A pixel reached by
  /// one basin joins it, a pixel reached by several at the same time or by lines only is a line. Two basins that
  /// meet between two pixels (a membrane of even width) would touch in their formulation; here the pixel that comes
  /// later in the order of rows and queue becomes a line, so lines always separate. A slice that is membrane
  /// everywhere is one flat minimum and becomes one segment.
  public mutating func thinBorders() {
    if count == 0 { return uniteUniform() }
    let (stride, height, width) = (stride, height, width)
    framed.withUnsafeMutableBufferPointer { labels in
      var front: [Int] = []
      for y in 1...height {
        for pixel in y * stride + 1...y * stride + width where labels[pixel] == Mark.line {
          let touches = Self.basin(around: pixel, labels, stride) != Around.nothing
          labels[pixel] = touches ? Mark.queued : Mark.open
          if touches { front.append(pixel) }
        }
      }
      var next: [Int] = []
      var reached: [Int32] = []
      // Every turn labels the pixels that are one step farther from the basins.
      while !front.isEmpty {
        reached.removeAll(keepingCapacity: true)
        for pixel in front { reached.append(max(Self.basin(around: pixel, labels, stride), Mark.line)) }
        next.removeAll(keepingCapacity: true)
        for (index, pixel) in front.enumerated() {
          // By now a neighbour of the same turn may belong to another basin.
          let meetsAnother = Self.basin(around: pixel, labels, stride) == Around.several
          labels[pixel] = meetsAnother ? Mark.line : reached[index]
          for neighbour in [pixel - 1, pixel + 1, pixel - stride, pixel + stride]
          where labels[neighbour] == Mark.open {
            labels[neighbour] = Mark.queued
            next.append(neighbour)
          }
        }
        swap(&front, &next)
      }
    }
  }

  /// What the four neighbours of a pixel hold, when it is not one basin.
  private enum Around {
    static let nothing: Int32 = 0
    static let several: Int32 = -1
  }

  /// The basin that the four neighbours of a pixel belong to, as far as they belong to any, or a value of `Around`.
  @inline(__always)
  private static func basin(around pixel: Int, _ labels: UnsafeMutableBufferPointer<Int32>, _ stride: Int) -> Int32 {
    let left = max(labels[pixel - 1], 0)
    let right = max(labels[pixel + 1], 0)
    let above = max(labels[pixel - stride], 0)
    let below = max(labels[pixel + stride], 0)
    let label = max(max(left, right), max(above, below))
    @inline(__always)
    func fits(_ other: Int32) -> Bool { other == 0 || other == label }
    return fits(left) && fits(right) && fits(above) && fits(below) ? label : Around.several
  }
}

/// Stops with a message where an array does not have one value per pixel.
func checkSize(_ count: Int, _ name: String, height: Int, width: Int) {
  precondition(height > 0 && width > 0, "height and width must be positive, got \(height) × \(width)")
  let (rows, columns) = (height.addingReportingOverflow(2), width.addingReportingOverflow(2))
  let framed = rows.partialValue.multipliedReportingOverflow(by: columns.partialValue)
  precondition(
    !rows.overflow && !columns.overflow && !framed.overflow && framed.partialValue <= Int32.max,
    "a slice may have some 2·10⁹ pixels, got \(height) × \(width)")
  precondition(count == height * width, "\(name) must have \(height) × \(width) values, got \(count)")
}
