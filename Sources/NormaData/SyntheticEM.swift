import NormaFormats

/// A made-up stack that looks like serial-section electron microscopy of neural tissue, with its labels.
///
/// For demonstrations and tests without data: neurites divided by dark membranes, with mitochondria and
/// vesicles that must be told from membranes, uneven contrast, shading and noise. Size and widths imitate the
/// stack of the ISBI 2012 challenge (Arganda-Carreras et al., Frontiers in Neuroanatomy 9, 2015). A seed gives
/// the same bytes on every machine.
public struct SyntheticEM: Sendable {
  /// Columns per slice.
  public var width: Int
  /// Rows per slice.
  public var height: Int
  /// Slices in the stack.
  public var slices: Int
  /// Decides everything.
  public var seed: UInt64

  /// The share of the pixels that is labelled cell, over the whole stack.
  static let cellShare = 0.775

  /// Describes a stack; sides and slices must be positive.
  public init(width: Int = 256, height: Int = 256, slices: Int = 24, seed: UInt64 = 0) {
    precondition(
      width > 0 && height > 0 && slices > 0,
      "a synthetic stack needs positive sizes, received \(width)×\(height)×\(slices)")
    self.width = width
    self.height = height
    self.slices = slices
    self.seed = seed
  }

  /// Makes the stack.
  ///
  /// - Returns: two 8-bit stacks of [slices, 1, height, width]: grey values 0…255, and labels that are 0 on
  ///   membranes and 255 in cells. Membranes cover 22.5 % of the stack, 3 to 5 pixels wide for the most part.
  public func make() -> (images: ImageStack, labels: ImageStack) {
    let source = RandomSource(seed: seed)
    var random = source.derive(stream: 0)
    let cells = SyntheticCell.draw(width: width, height: height, slices: slices, using: &random)
    let partitions = partitions(of: cells, using: &random)
    let halfWidth = membraneHalfWidth(partitions)
    let painter = SyntheticPainter(
      width: width, height: height, slices: slices, cells: cells, halfWidth: halfWidth, using: &random)
    var images: [Float] = []
    var labels: [Float] = []
    images.reserveCapacity(slices * width * height)
    labels.reserveCapacity(slices * width * height)
    for (slice, partition) in partitions.enumerated() {
      var random = source.derive(stream: 1, UInt64(slice))
      images += painter.paint(partition, slice: slice, using: &random)
      labels += partition.borderDistance.map { $0 < halfWidth ? 0 : 255 }
    }
    return (stack(images), stack(labels))
  }

  private func stack(_ values: [Float]) -> ImageStack {
    do {
      return try ImageStack(
        pages: slices, channels: 1, height: height, width: width, format: .uint8, values: values)
    } catch {
      preconditionFailure("the painter made another size than it was asked for: \(error)")
    }
  }

  private func partitions(
    of cells: [SyntheticCell], using random: inout RandomSource
  ) -> [SyntheticPartition] {
    func field(_ spacing: Float, _ sliceSpacing: Float) -> LatticeNoise {
      LatticeNoise(
        width: width, height: height, spacing: spacing, slices: slices, sliceSpacing: sliceSpacing,
        using: &random)
    }
    let (coarseX, coarseY) = (field(34, 5), field(34, 5))
    let (fineX, fineY) = (field(11, 3), field(11, 3))
    let membrane = field(22, 3)
    return (0..<slices).map { slice in
      let bendX = zip(coarseX.slice(slice), fineX.slice(slice)).map { 6.5 * $0 + 1.5 * $1 }
      let bendY = zip(coarseY.slice(slice), fineY.slice(slice)).map { 6.5 * $0 + 1.5 * $1 }
      let widths = membrane.slice(slice).map { max(0.8, min(1.35, 1 + 0.14 * $0)) }
      return SyntheticPartition(
        cells: cells, slice: slice, width: width, height: height, bendX: bendX, bendY: bendY,
        membraneWidth: widths)
    }
  }

  /// Half the width of the membranes, in relative pixels, at which cells cover `cellShare` of the stack.
  private func membraneHalfWidth(_ partitions: [SyntheticPartition]) -> Float {
    let (binCount, binsPerPixel) = (4096, Float(256))
    var bins = [Int](repeating: 0, count: binCount)
    for partition in partitions {
      for distance in partition.borderDistance {
        bins[min(Int(distance * binsPerPixel), binCount - 1)] += 1
      }
    }
    let wanted = Int(Double(slices * width * height) * (1 - Self.cellShare))
    var reached = 0
    for (bin, count) in bins.enumerated() {
      reached += count
      if reached >= wanted { return Float(bin + 1) / binsPerPixel }
    }
    return Float(binCount) / binsPerPixel
  }
}
