import NormaFormats
import Testing

@testable import NormaData

@Suite struct BatchLoaderTests {
  private func options(
    crop: Int = 6, batchSize: Int = 3, samples: Int = 10, augmentation: Augmentation = .full,
    weighting: BorderWeighting? = BorderWeighting(), workers: Int = 2, seed: UInt64 = 9
  ) -> SampleOptions {
    SampleOptions(
      crop: crop, batchSize: batchSize, samplesPerEpoch: samples, seed: seed, augmentation: augmentation,
      borderWeighting: weighting, workers: workers)
  }

  private func batches(
    _ data: SegmentationDataset, _ options: SampleOptions, epoch: Int = 0
  ) throws -> [SegmentationBatch] {
    try allBatches(data.batches(options, epoch: epoch))
  }

  @Test func shapesAndTheShorterLastBatch() throws {
    let data = try tellingDataset()
    let loader = try data.batches(options(), epoch: 0)
    #expect(loader.batchCount == 4)
    let batches = try allBatches(loader)
    #expect(batches.map(\.count) == [3, 3, 3, 1])
    for batch in batches {
      #expect(batch.images.count == batch.count * 36 && batch.labels.count == batch.count * 36)
      #expect(batch.weights?.count == batch.count * 36)
      #expect(batch.channels == 1 && batch.height == 6 && batch.width == 6)
    }
    let plain = try self.batches(data, options(weighting: nil))
    #expect(plain.allSatisfy { $0.weights == nil })
    #expect(plain.map(\.images) == batches.map(\.images))
  }

  @Test func samplesDependOnSeedEpochAndIndexOnly() throws {
    let data = try tellingDataset()
    let reference = try batches(data, options(workers: 1))
    #expect(try batches(data, options(workers: 3)) == reference)
    #expect(try batches(data, options(), epoch: 1) != reference)
    #expect(try batches(data, options(seed: 10)) != reference)
    // Other batches, same samples.
    let single = try batches(data, options(batchSize: 1))
    #expect(single.flatMap(\.images) == reference.flatMap(\.images))
    #expect(single.flatMap(\.labels) == reference.flatMap(\.labels))
    // Every augmented sample differs.
    #expect(Set(single.map(\.images)).count == 10)
  }

  @Test func slicesAreUsedEquallyOften() throws {
    let data = try tellingDataset(pages: 4)
    let pages = try batches(data, options(crop: 3, samples: 20)).flatMap(\.pages)
    for page in 0..<4 { #expect(pages.count { $0 == page } == 5) }
    // In random orders of all slices.
    let rounds = stride(from: 0, to: 20, by: 4).map { Array(pages[$0..<$0 + 4]) }
    #expect(rounds.allSatisfy { $0.sorted() == [0, 1, 2, 3] })
    #expect(Set(rounds).count > 1)
    let uneven = try batches(data, options(crop: 3, samples: 6)).flatMap(\.pages)
    for page in 0..<4 { #expect([1, 2].contains(uneven.count { $0 == page })) }
  }

  @Test func samplesComeFromTheirSlice() throws {
    let data = try tellingDataset(pages: 3)
    for batch in try batches(data, options(augmentation: .flips, weighting: nil)) {
      for (index, page) in batch.pages.enumerated() {
        for pixel in index * 36..<(index + 1) * 36 {
          #expect(batch.images[pixel] == (40 * Float(batch.labels[pixel]) + Float(10 * page + 1)) / 255)
        }
      }
    }
  }

  @Test func validationNeverOverlapsTraining() throws {
    let (training, validation) = try tellingDataset(pages: 4).split(validationSlices: 2)
    // Grey value 40·class + 10·slice + 1 tells the slice.
    func slices(_ batches: [SegmentationBatch]) -> Set<Int> {
      Set(batches.flatMap(\.images).map { (Int(($0 * 255).rounded()) - 1) % 40 / 10 })
    }
    #expect(slices(try batches(training, options(augmentation: .flips))) == [0, 1])
    #expect(slices(try allBatches(validation.validationBatches())) == [2, 3])
    #expect(Set(training.stackPages).isDisjoint(with: validation.stackPages))
  }

  @Test func cropsReachEveryPlace() throws {
    let images = stack(height: 4, width: 5, format: .float32) { _, _, y, x in Float(5 * y + x) / 32 }
    let labels = stack(height: 4, width: 5) { _, _, _, x in x > 2 ? 1 : 0 }
    let data = try SegmentationDataset(images: images, labels: labels, name: "places")
    let corners = try batches(
      data, options(crop: 3, samples: 200, augmentation: .none, weighting: nil)
    ).flatMap { batch in (0..<batch.count).map { Int(batch.images[$0 * 9] * 32) } }
    #expect(Set(corners) == [0, 1, 2, 5, 6, 7])
    for corner in Set(corners) { #expect(corners.count { $0 == corner } > 15) }
    // A crop of the slice's height has one row of places left.
    let full = try batches(data, options(crop: 4, samples: 40, augmentation: .none))
    #expect(Set(full.flatMap { [$0.images[0]] }).isSubset(of: [0, Float(1) / 32]))
  }

  @Test func validationDeliversWholeSlicesInOrder() throws {
    let data = try tellingDataset(pages: 5, height: 4, width: 6)
    let loader = try data.validationBatches(batchSize: 2, borderWeighting: BorderWeighting())
    #expect(loader.batchCount == 3)
    let batches = try allBatches(loader)
    #expect(batches.map(\.pages) == [[0, 1], [2, 3], [4]])
    #expect(batches[1].images == data.image(page: 2) + data.image(page: 3))
    #expect(batches[2].labels == data.labels(page: 4))
    #expect(batches[0].weights == data.borderWeights(page: 0) + data.borderWeights(page: 1))
    #expect(batches[0].height == 4 && batches[0].width == 6)
    #expect(try allBatches(data.validationBatches()).allSatisfy { $0.weights == nil })
  }

  @Test func mistakesAreNamed() throws {
    let data = try tellingDataset(height: 6, width: 9)
    func kind(_ change: (inout SampleOptions) -> Void) -> DataError.Kind? {
      var options = options()
      change(&options)
      return errorKind { _ = try data.batches(options, epoch: 0) }
    }
    #expect(kind { _ in } == nil)
    #expect(kind { $0.crop = 7 } == .crop)
    #expect(kind { $0.crop = 0 } == .crop)
    #expect(kind { $0.batchSize = 0 } == .parameter)
    #expect(kind { $0.samplesPerEpoch = 0 } == .parameter)
    #expect(kind { $0.workers = 0 } == .parameter)
    #expect(kind { $0.depth = 0 } == .parameter)
    #expect(kind { $0.augmentation.zoom = 1 } == .parameter)
    #expect(kind { $0.borderWeighting = BorderWeighting(sigma: 0) } == .parameter)
    #expect(errorKind { _ = try data.validationBatches(batchSize: 0) } == .parameter)
  }

  @Test func abandonedLoaderStops() throws {
    let data = try tellingDataset()
    var loader: BatchLoader<SegmentationBatch>? = try data.batches(options(batchSize: 1, samples: 10_000), epoch: 0)
    _ = try loader?.next()
    let core = try #require(loader).prefetcher.core
    loader = nil
    core.underWay.wait()
    #expect(core.isCancelled)
    // One taken and four ahead at most.
    #expect(core.begunCount <= 5)
  }
}
