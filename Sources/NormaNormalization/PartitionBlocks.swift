import NormaTensor

/// The smallest blocks of the table of moments that can be solved one without the other.
package struct PartitionBlocks {
  private let shape: MomentShape
  private let channelsPerBlock: Int
  let spansSamples: Bool

  init(_ partitions: [Partition], _ shape: MomentShape) {
    self.shape = shape
    spansSamples = partitions.contains(where: \.spansSamples)
    let sizes = Set(partitions.map { $0.channelsPerPart(shape.channels) })
    let greatest = sizes.max() ?? 1
    // Groups that do not nest tie all channels together.
    channelsPerBlock = sizes.allSatisfy { greatest % $0 == 0 } ? greatest : shape.channels
  }

  package init(_ partitions: [Partition], samples: Int, channels: Int, positions: Int) {
    self.init(partitions, MomentShape(samples: samples, channels: channels, positions: positions))
  }

  private var perSample: Int { shape.channels / channelsPerBlock }
  package var count: Int { perSample * (spansSamples ? 1 : shape.samples) }
  /// Planes of one block.
  private var planes: Int { channelsPerBlock * (spansSamples ? shape.samples : 1) }
  /// Values of one block.
  package var values: Int { planes * shape.positions }

  /// Whether every thread has blocks of its own.
  package var areEnough: Bool { count >= 2 * Runtime.threads }

  /// Whether a block stays in a core's cache between two passes over it.
  package func stayInCache(bytesPerValue: Int) -> Bool { values * bytesPerValue <= ProcessorCache.perCore * 3 / 4 }

  subscript(_ index: Int) -> TableBlock {
    let first = index % perSample * channelsPerBlock
    let samples = spansSamples ? 0..<shape.samples : index / perSample..<index / perSample + 1
    return TableBlock(shape: shape, samples: samples, channels: first..<first + channelsPerBlock)
  }
}
