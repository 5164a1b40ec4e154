/// Which slice, which crop and which transform each sample of an epoch gets.
///
/// Sample k of epoch e depends on the seed, e and k only. Slices come as random orders of all slices, one
/// after the other, so that within an epoch their counts differ by one at most.
struct EpochPlan {
  struct Sample {
    /// The first one, of a volume.
    let page: Int
    let origin: (x: Int, y: Int)
    let transform: SampleTransform
  }

  let dataset: SegmentationDataset
  let options: SampleOptions
  let epoch: Int
  /// The first slice of each sample.
  let pages: [Int]

  private let source: RandomSource

  // Streams of the epoch's source.
  private static let pageStream: UInt64 = 0
  private static let sampleStream: UInt64 = 1

  init(dataset: SegmentationDataset, options: SampleOptions, epoch: Int) {
    self.dataset = dataset
    self.options = options
    self.epoch = epoch
    source = RandomSource(seed: options.seed)
      .derive(stream: UInt64(bitPattern: Int64(epoch)))
    var random = source.derive(stream: Self.pageStream)
    pages = random.permutations(of: dataset.pages - options.slices + 1, length: options.samplesPerEpoch)
  }

  /// Sample `index` of the epoch.
  func sample(_ index: Int) -> Sample {
    var random = source.derive(stream: Self.sampleStream, UInt64(index))
    let side = options.crop
    let x = random.integer(below: dataset.width - side + 1)
    let y = random.integer(below: dataset.height - side + 1)
    let transform = options.augmentation.draw(side: side, using: &random)
    return Sample(page: pages[index], origin: (x, y), transform: transform)
  }
}
